"""What the operating system says about a process: when it was born, how much memory it holds, its
name.

Owns the platform differences (`/proc` on Linux, `ps` elsewhere). Never signals anything. Standard
library only: the supervisor lives on it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LINUX = sys.platform.startswith("linux")
_START_TIME_FIELD = 19  # field 22 of /proc/<pid>/stat, counted from the one after the command's ")"
_DEAD = (b"Z", b"X")  # a zombie keeps its pid, but holds nothing any more
_NAME_LIMIT = 64


def birth_mark(pid: int) -> str | None:
    """A text that differs between two processes that had the same pid; None when `pid` is not
    alive.

    Linux: start time in clock ticks since boot. Elsewhere: what `ps -o lstart` prints (a resolution
    of 1 s).
    """
    if not _LINUX:
        state, _, born = (_ps(pid, "stat=,lstart") or "Z").partition(" ")
        return None if state.startswith("Z") else born.strip()
    stat = _read(f"/proc/{pid}/stat")
    if stat is None:
        return None
    # The command may hold blanks and brackets, so fields are counted from its last bracket.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in _DEAD else fields[_START_TIME_FIELD].decode()


def rss_bytes(pid: int) -> int | None:
    """Resident memory of `pid` in bytes; None when it is not alive or nobody tells."""
    if _LINUX:
        statm = _read(f"/proc/{pid}/statm")
        return None if statm is None else int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    printed = _ps(pid, "rss")
    return None if printed is None else int(printed) * 1024


def name_of(pid: int) -> str | None:
    """The program's name: printable, at most 64 characters; None when it may not be read.

    Never its arguments, which may hold passwords.
    """
    raw = _read(f"/proc/{pid}/comm") if _LINUX else (_ps(pid, "comm") or "").encode()
    # Elsewhere than on Linux it is a path.
    text = (raw or b"").decode("utf-8", "replace").strip().rpartition("/")[2]
    return "".join(filter(str.isprintable, text))[:_NAME_LIMIT] or None


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:  # it ended meanwhile, or belongs to someone else: both mean "not known"
        return None


def _ps(pid: int, field: str) -> str | None:
    import subprocess  # only where there is no /proc: it would cost the supervisor 2 MB elsewhere

    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["ps", "-o", f"{field}=", "-p", str(pid)],
            capture_output=True,
            check=False,
            env=environment,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):  # no `ps`, or a system on its knees: not known
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None
