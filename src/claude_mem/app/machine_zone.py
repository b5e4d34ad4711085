"""The time zone this machine is set to, by its IANA name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from claude_mem.kernel import zones

_LINK: Final = Path("/etc/localtime")  # of Linux and macOS: into a folder `zoneinfo`
_NAMED: Final = Path("/etc/timezone")  # of Debian
_FOLDER: Final = "zoneinfo/"


def machine_zone(environ: Mapping[str, str], link: Path = _LINK, named: Path = _NAMED) -> str:
    """By `TZ`, or what the system is set to; UTC where neither names a zone, as on Windows."""
    if said := environ.get("TZ", "").removeprefix(":").strip():
        return said if not zones.fault(said) else zones.DEFAULT
    for found in (_linked(link), _read(named)):
        if found and not zones.fault(found):
            return found
    return zones.DEFAULT


def _linked(link: Path) -> str:
    try:
        _, folder, name = link.resolve(strict=True).as_posix().rpartition(_FOLDER)
    except (OSError, RuntimeError):  # none, or a link to itself
        return ""
    return name if folder else ""


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # not on this system
        return ""
