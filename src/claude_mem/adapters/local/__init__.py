"""What only a machine of one's own has: folders, git roots, files that pause capture."""
