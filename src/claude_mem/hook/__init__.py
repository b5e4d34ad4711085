"""The agent-side command: standard library only."""
