"""Taking events in and turning them into rows."""
