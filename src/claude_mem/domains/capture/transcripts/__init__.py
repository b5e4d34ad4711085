"""Claude Code's transcripts: files in, wire events out. Standard library only; reads, never writes.

The shapes follow transcripts as written by Claude Code 2.1; older ones lack fields, newer ones have
more.
"""

from claude_mem.domains.capture.transcripts.discover import TranscriptFile, find_transcripts
from claude_mem.domains.capture.transcripts.position import Position
from claude_mem.domains.capture.transcripts.reader import (
    Fresh,
    Reading,
    read_new,
    read_transcript,
)

__all__ = [
    "Fresh",
    "Position",
    "Reading",
    "TranscriptFile",
    "find_transcripts",
    "read_new",
    "read_transcript",
]
