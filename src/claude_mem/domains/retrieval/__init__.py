"""Finding it again."""
