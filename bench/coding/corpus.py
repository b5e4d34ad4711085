"""Everything that is remembered: the sessions written by hand, the bundled sample, and generated work around them.

Pure but for reading the sources; the order is by time, as it would have been recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from bench.coding import noise, sessions
from bench.coding.rows import Row, row
from bench.sample import TRANSCRIPTS
from claude_mem.domains.capture.transcripts import find_transcripts, read_transcript

_KINDS = frozenset({"prompt.submitted", "assistant.replied", "tool.used", "tool.failed"})


def rows() -> list[Row]:
    """All of it; ids are unique."""
    everything = [*sessions.rows(), *_sample(), *noise.rows()]
    return sorted(everything, key=lambda one: (one["time"], one["session"]))


def _sample() -> Iterator[Row]:
    """The bundled sample's prompts, replies and tool calls, as its import would hand them in."""
    for file in find_transcripts(TRANSCRIPTS):
        number = 0
        for event in read_transcript(file.path, settled=True):
            data = event["data"]
            empty = not data.get("content") and "tool" not in data
            if event["type"] not in _KINDS or empty:
                continue
            number += 1
            yield row(
                f"sample/{file.path.stem}/{number}",
                event["session"],
                PurePosixPath(event["project"]).name,
                event["occurred_at"][:19],
                event["type"],
                data,
            )
