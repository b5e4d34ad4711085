"""What is made of what is remembered: summaries of sessions, and learnings."""
