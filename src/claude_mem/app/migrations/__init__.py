"""Versioned schema changes, one definition for both engines.

HEAD is the newest revision; a test holds it to the files in versions/.
"""

HEAD = "0011"
