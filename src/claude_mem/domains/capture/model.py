"""What capture needs from its surroundings, and what it answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from claude_mem.domains.memory.model import EntityRef
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import NewJob


@dataclass(frozen=True, slots=True)
class Limits:
    """`keep_output_chars`: of a long text, head and tail; `batch_size`: events a transaction.

    `reads_transcripts`: the agents' own files are on this machine, and may be read.
    """

    keep_output_chars: int = 16_000
    batch_size: int = 500
    reads_transcripts: bool = True


@dataclass(frozen=True, slots=True)
class Receipt:
    """Events now durable: new ones, ones known already, and ones not wanted (paused, opted out, our own)."""

    accepted: int
    duplicates: int
    ignored: int = 0


@dataclass(slots=True)
class DrainReport:
    """What a drain of the inbox did. `passed_over`: events of something forgotten, which are repeats too."""

    events: int = 0
    rows: int = 0
    repeated: int = 0
    passed_over: int = 0
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


class Clearing(Protocol):
    """Taking the last bytes of what was forgotten out of the files, and out of copies of them."""

    def jobs(self) -> Sequence[NewJob]:
        """To be enqueued in the transaction that forgets: whatever happens after it, the files are cleared."""
        ...

    async def at_once(self) -> bool:
        """Clear the files; False when that is left to the job, because it takes long or cannot be done now."""
        ...

    async def copies(self) -> list[str]:
        """Drop the copies that may be dropped; the names of those that only a person may take away."""
        ...


class ContextSource(Protocol):
    """What a hook is to print: remembered context, put together above capture (implemented in `domains.context`).

    Whatever goes wrong in it, an event is taken all the same: it answers nothing rather than late, and never raises.
    """

    async def answer(self, scope: Scope, event: str, payload: dict[str, Any], place: str) -> bytes:
        """The body for one of the client's hook events, b"" for none. `place` is the folder the session began in."""
        ...

    def forget(
        self, scope: Scope, tx: Tx, refs: Sequence[EntityRef], agent_session: str | None
    ) -> None:
        """Leave nothing noted of what is taken out (of a whole session: its agent's name), in the same transaction."""
        ...

    async def forgotten(self, scope: Scope, sessions: Sequence[str] = ()) -> None:
        """Told before and after something was taken out: rendered contexts go, and what is kept of `sessions`."""
        ...
