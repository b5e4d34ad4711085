"""Who is asking: enterprises, users, keys, tokens."""
