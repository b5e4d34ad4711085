"""A question set about coding work, written by hand; see README.md beside this."""
