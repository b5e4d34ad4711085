"""What reads a question and a text together and says how well they meet. Nothing is loaded by importing it."""
