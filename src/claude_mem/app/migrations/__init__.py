"""Versioned schema changes, one definition for both engines."""
