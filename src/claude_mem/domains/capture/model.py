"""What capture needs from its surroundings, and what it answers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """`keep_output_chars`: of a long text, head and tail; `batch_size`: events a transaction."""

    keep_output_chars: int = 16_000
    batch_size: int = 500


@dataclass(frozen=True, slots=True)
class Receipt:
    """Events now durable: new ones, ones known already, and ones not wanted (paused, opted out, our own)."""

    accepted: int
    duplicates: int
    ignored: int = 0


@dataclass(slots=True)
class DrainReport:
    """What a drain of the inbox did."""

    events: int = 0
    rows: int = 0
    repeated: int = 0
    buried: list[str] = field(default_factory=list)


class Gate(Protocol):
    """Whether a person wants to be recorded now, and how full the store is (implemented in `adapters.local`)."""

    def paused(self) -> bool:
        """Whether capture is paused."""
        ...

    def paused_at(self, moment: int) -> bool:
        """Whether capture was paused at a moment (Unix ms), be that pause over or not."""
        ...

    def opted_out(self, folder: str) -> bool:
        """Whether the project around `folder` asked not to be recorded."""
        ...

    def fill(self) -> float:
        """The store's size as a share of its cap."""
        ...

    def grew(self, size: int) -> None:
        """Told of every `size` bytes that were taken in, so that `fill` need not look each time."""
        ...


class ProjectKeys(Protocol):
    """From a folder (or a name) to what a project is known by."""

    def __call__(self, folder: str) -> str:
        """The git root of a folder on this machine; anything else unchanged."""
        ...
