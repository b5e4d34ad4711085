"""All SQL of the memory domain: recording, reading, forgetting."""
