"""One adapter an agent: its hook payloads become wire events."""
