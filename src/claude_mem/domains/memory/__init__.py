"""What is remembered: sessions, prompts, observations, code changes."""
