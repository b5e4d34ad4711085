"""Every check in its order, and with `--fix` what is safe to mend, and then every check again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_mem.app.doctor import capture, client, database, fixes, machine, vectors, worker
from claude_mem.app.doctor.model import Case, Check, Level, Look, warn
from claude_mem.app.settings import Settings, load
from claude_mem.hook.home import default_home
from claude_mem.kernel.errors import MemError
from claude_mem.worker.status import status

# From the ground up: what is wrong further down often explains what is wrong above.
GROUPS: dict[str, tuple[Look, ...]] = {
    "Machine": (machine.programs, machine.disk, machine.clock),
    "Data folder": (
        machine.folder,
        machine.token,
        machine.settings,
        machine.owner_of_database,
        client.secrets,
    ),
    "Worker": (
        worker.running,
        worker.version,
        worker.port,
        worker.leftovers,
        worker.restarts,
        worker.memory,
        worker.errors,
    ),
    "Agent": (
        client.hooks,
        client.hook_file,
        client.switches,
        client.others,
        client.mcp,
    ),
    "Capture": (
        capture.pauses,
        capture.last_event,
        capture.spooled,
        capture.inbox,
        capture.jobs,
    ),
    "Store": (
        database.files,
        database.log,
        capture.search,
        vectors.embedding,
        vectors.covered,
        vectors.engine,
    ),
}
# Before others: a folder that may not be written spoils every other fix; a worker is needed by some. The index is made
# anew before one is started: alone it begins empty, which mends more.
_ORDER = (
    "modes",
    "token",
    "door",
    "hook",
    "rebuild",
    "start",
    "spool",
    "checkpoint",
    "jobs",
    "model",
    "graphs",
)


@dataclass(slots=True)
class Report:
    """What was found, by group; and what was done, if anything was."""

    home: Path
    groups: dict[str, list[Check]]
    done: list[dict[str, str]] = field(default_factory=list)

    @property
    def checks(self) -> list[Check]:
        """All of them."""
        return [check for checks in self.groups.values() for check in checks]

    def count(self, level: Level) -> int:
        """How many are of a level."""
        return sum(check.status is level for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.count(Level.FAIL) == 0,
            "home": str(self.home),
            "failed": self.count(Level.FAIL),
            "warnings": self.count(Level.WARN),
            "checks": [
                {"group": group, **check.as_dict()}
                for group, checks in self.groups.items()
                for check in checks
            ],
            "fixed": self.done,
        }


def examine(say: Callable[[str], None]) -> Report:
    """Look at everything; changes nothing."""
    case = _case()
    groups: dict[str, list[Check]] = {}
    for group, looks in GROUPS.items():
        say(group)
        groups[group] = [check for look in looks for check in _look(look, case)]
    return Report(case.home, groups)


def treat(report: Report, say: Callable[[str], None]) -> Report:
    """Make every safe fix that the report names, and look again."""
    named = {check.mend for check in report.checks if check.status is not Level.OK}
    done: list[dict[str, str]] = []
    for name in (it for it in _ORDER if it in named):
        say(f"Fixing: {name}")
        case = _case()
        try:
            done.append({"fix": name, "result": "done", "said": fixes.mend(name, case)})
        except fixes.NotMended as error:
            done.append({"fix": name, "result": "failed", "said": str(error)})
    again = examine(say)
    again.done = done
    return again


def _case() -> Case:
    home = default_home()
    fault: MemError | None = None
    try:
        settings = load()
    except MemError as error:
        settings, fault = Settings(home=home), error
    return Case(
        home=home,
        settings=settings,
        settings_error=fault,
        status=status(home, cap_bytes=settings.max_store_mb << 20),
        environment=dict(os.environ),
        project=Path.cwd(),
    )


def _look(look: Look, case: Case) -> list[Check]:
    try:
        return look(case)
    except Exception as error:  # noqa: BLE001 - one thing that cannot be looked at must not hide the others
        name = look.__name__
        said = f"could not be looked at: {type(error).__name__}: {error}"
        fix = f"make {case.home} readable; if it is, report this"
        return [warn(f"{look.__module__.rpartition('.')[2]}.{name}", name, said, fix)]
