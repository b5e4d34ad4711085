"""What a machine decides for its one person, on a server, which has neither: nobody pauses, and no folder is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claude_mem.kernel.scope import Scope
from claude_mem.ports.queue import NewJob


class OpenGate:
    """Implements `capture.model.Gate`: everything is wanted. Whoever records for a person asks that person there."""

    def paused(self) -> bool:
        """See the protocol."""
        return False

    def paused_at(self, moment: int) -> bool:
        """See the protocol."""
        del moment
        return False

    def opted_out(self, folder: str) -> bool:
        """See the protocol. A path of another machine: its own hook has looked."""
        del folder
        return False

    def fill(self) -> float:
        """See the protocol. The database's disk is not ours to measure; it says when it is full."""
        return 0.0

    def grew(self, size: int) -> None:
        """See the protocol."""


class NoFiles:
    """Implements `context.model.Rendered` where no hook can read our files: nothing is kept."""

    generation = 0

    def save(self, scope: Scope, record: Mapping[str, Any], generation: int) -> None:
        """See the protocol."""

    def load(self, scope: Scope, place: str) -> Mapping[str, Any] | None:
        """See the protocol."""
        del scope, place
        return None

    def places(self, scope: Scope, project_id: str) -> Sequence[str]:
        """See the protocol."""
        del scope, project_id
        return ()

    def drop_all(self) -> None:
        """See the protocol."""

    def given(self, scope: Scope, session: str) -> Sequence[Sequence[str]]:
        """See the protocol."""
        del scope, session
        return ()


class EngineClears:
    """Implements `capture.model.Clearing` where the files are the engine's: its own vacuum takes out what rows left."""

    def jobs(self) -> Sequence[NewJob]:
        """See the protocol."""
        return ()

    async def at_once(self) -> bool:
        """See the protocol."""
        return False

    async def copies(self) -> list[str]:
        """See the protocol. Backups are an administrator's."""
        return []


def name_of_project(folder: str) -> str:
    """Implements `capture.model.ProjectKeys` for other machines' folders: as they were told, without a last slash."""
    return folder.rstrip("/") or folder
