"""Builds the bundled sample: readable session sources in, Claude Code transcripts out."""
