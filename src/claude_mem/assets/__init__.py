"""What the wheel carries besides code."""
