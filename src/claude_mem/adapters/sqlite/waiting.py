"""How many events a stopped worker left in its ingest log.

Owns that one read, for commands that run while no worker does. Never writes; a running worker is
asked instead.
"""

from __future__ import annotations

from pathlib import Path

import sqlean


def waiting(path: Path) -> int | None:
    """Entries in the inbox file at `path`: 0 when there is no file, None when it cannot be read."""
    if not path.exists():
        return 0
    try:
        raw = sqlean.connect(f"file:{path}?mode=ro", uri=True)
    except sqlean.Error:  # unreadable: not known
        return None
    try:
        return int(raw.execute("SELECT COUNT(*) FROM inbox").fetchone()[0])
    except sqlean.Error:  # no such table yet, or a damaged file: not known
        return None
    finally:
        raw.close()
