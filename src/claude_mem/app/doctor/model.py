"""What a check says, and what checks look at.

Owns these values. A check only looks: it never changes a file, starts or stops anything. What mends is in `fixes`, and
none of that deletes what is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from claude_mem.app.settings import Settings
from claude_mem.kernel.errors import MemError
from claude_mem.sdk.client import ApiError, Client, NotReachable
from claude_mem.sdk.local import connect
from claude_mem.worker.layout import Layout
from claude_mem.worker.status import Status

_PATIENCE_S = 10.0


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `fix` is a command or an instruction; `mend` names the safe fix that `--fix` makes."""

    id: str
    title: str
    status: Level
    found: str
    fix: str | None = None
    mend: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "id": self.id,
            "title": self.title,
            "status": self.status.value,
            "found": self.found,
            "fix": self.fix,
            "safe_fix": self.mend is not None,
        }


@dataclass
class Case:
    """An installation: its data folder, settings as far as they can be read, and how its worker is."""

    home: Path
    settings: Settings  # defaults where they cannot be read
    settings_error: MemError | None
    status: Status
    environment: dict[str, str]
    project: Path  # the folder the person is in

    @cached_property
    def files(self) -> Layout:
        """The data folder's files."""
        return Layout(self.home)

    @property
    def answers(self) -> bool:
        """Whether a worker can be asked."""
        return self.status.health is not None

    def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One call of the worker's API. Raises ApiError or NotReachable."""
        with self._client() as client:
            return client.request(method, path, **options)

    def try_ask(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        """The same; None when there is no answer to be had."""
        try:
            return self.ask(method, path, **options)
        except (ApiError, NotReachable):  # other checks say why nobody answers
            return None

    def _client(self) -> Client:
        return connect(self.home, timeout=_PATIENCE_S)


Look = Callable[[Case], list[Check]]


def ok(name: str, title: str, found: str) -> Check:
    """As it should be."""
    return Check(name, title, Level.OK, found)


def warn(name: str, title: str, found: str, fix: str, mend: str | None = None) -> Check:
    """Works, but a person should know."""
    return Check(name, title, Level.WARN, found, fix, mend)


def bad(name: str, title: str, found: str, fix: str, mend: str | None = None) -> Check:
    """Does not work."""
    return Check(name, title, Level.FAIL, found, fix, mend)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def span(seconds: float) -> str:
    """A time for people."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
