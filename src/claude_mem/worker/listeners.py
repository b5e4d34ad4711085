"""Who listens on a TCP port of this machine.

Owns that one look-up, so that a port conflict can be reported with a name. Never signals or
connects to anyone.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from claude_mem.worker.processes import name_of

_LISTENING = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


@dataclass(frozen=True, slots=True)
class Listener:
    """Whoever holds a port; `pid` and the program's `name` are None when we may not see them."""

    port: int
    pid: int | None
    name: str | None

    def __str__(self) -> str:
        if self.pid is None:
            return "a process of another user"
        return f"process {self.pid}" + (f" ({self.name})" if self.name else "")


def port_holder(port: int) -> Listener | None:
    """The process that listens on `port`, or None when nobody does (or nobody can tell)."""
    if not sys.platform.startswith("linux"):
        return _ask_lsof(port)
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    pid = _owner_of(inodes)
    return Listener(port, pid, name_of(pid) if pid is not None else None)


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in _TABLES:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # no IPv6, or /proc not to be read
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _owner_of(sockets: set[str]) -> int | None:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            for descriptor in (folder / "fd").iterdir():
                if str(descriptor.readlink()) in sockets:
                    return int(folder.name)
        except OSError:  # another user's process, or one that just ended
            continue
    return None


def _ask_lsof(port: int) -> Listener | None:
    try:
        done = subprocess.run(
            ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fp"],
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (
        OSError,
        subprocess.TimeoutExpired,
    ):  # no lsof here: the port is reported without a name
        return None
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith("p") and line[1:].isdigit():
            pid = int(line[1:])
            return Listener(port, pid, name_of(pid))
    return None
