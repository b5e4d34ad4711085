"""SQLite: database, inbox, lexical index."""
