"""Installing and removing the hooks: in the data folder and in the settings file, as one act.

Owns the record of what was done to which settings file (`<data>/hook/installed.json`), which is how
`uninstall` takes out exactly what went in. The settings file is read and the interpreter is tried
before anything is written, so what fails leaves nothing behind.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.bundle import write_hook
from claude_mem.hook.home import ensure_token, make_private_folder, write_private
from claude_mem.hook.settings_file import (
    handler,
    means_the_same,
    merge,
    ours_in,
    read_settings,
    without_ours,
    write_bytes,
    write_settings,
)


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to a settings file: whether it changed, and the backup made before."""

    settings: Path
    changed: bool
    events: tuple[str, ...]
    backup: Path | None = None
    removed_file: bool = False


@dataclass(slots=True)
class _Entry:
    """The record of one settings file: what it takes to undo what we did to it."""

    created: bool = False
    backup: str | None = None  # as it was before our first change
    events: tuple[str, ...] = EVENTS
    exclude: str | None = None  # the git exclude file that we added a line to


def prepare_home(home: Path, launch_argv: Sequence[str]) -> Path:
    """Make the data folder with token, hook and launch plan; return the hook's path."""
    make_private_folder(home)
    ensure_token(home)
    hook = write_hook(home)
    plan = json.dumps({"argv": list(launch_argv), "env": {}}, indent=2) + "\n"
    write_private(home / "hook" / "launch.json", plan)
    return hook


def remembered_events(home: Path, settings: Path) -> tuple[str, ...]:
    """The events chosen when hooks were last put into this settings file; all, if never."""
    return _load(home).get(str(settings), _Entry()).events


def install(
    home: Path, settings: Path, python: str, events: Sequence[str], *, dry_run: bool = False
) -> Done:
    """Put the hooks for `events` into a settings file, and nothing where they are there already.

    Raises SettingsError when the file must not be touched, OSError when it cannot be written.
    """
    file = read_settings(settings)
    hook = str(home / "hook" / "hook.py")
    merged = merge(file.settings, {event: handler(python, hook, event) for event in events})
    changed = merged != file.settings
    if dry_run:
        return Done(settings, changed, tuple(events))
    backup = write_settings(file, merged) if changed else None
    record = _load(home)
    entry = record.setdefault(str(settings), _Entry())
    if changed and not ours_in(file.settings):
        entry.created, entry.backup = file.raw is None, str(backup) if backup else None
    entry.events = tuple(events)
    _save(home, record)
    return Done(settings, changed, tuple(events), backup)


def uninstall(home: Path, settings: Path) -> Done:
    """Take our hooks out of a settings file; byte for byte as it was when nothing else changed."""
    file = read_settings(settings)
    events = tuple(ours_in(file.settings))
    record = _load(home)
    entry = record.pop(str(settings), _Entry())
    if not events:
        return Done(settings, False, ())
    bare = without_ours(file.settings)
    before = _before(entry)
    if not bare and entry.created:
        file.path.unlink()
        _save(home, record)
        return Done(settings, True, events, removed_file=True)
    if before is not None and means_the_same(bare, before[1]):
        backup = write_bytes(file, before[0])
    else:
        backup = write_settings(file, bare)
    _save(home, record)
    return Done(settings, True, events, backup)


def note_exclude(home: Path, settings: Path, exclude: Path | None) -> None:
    """Remember the git exclude file that got a line because of this settings file."""
    record = _load(home)
    entry = record.setdefault(str(settings), _Entry())
    entry.exclude = str(exclude) if exclude else None
    _save(home, record)


def noted_exclude(home: Path, settings: Path) -> Path | None:
    """The git exclude file remembered for this settings file."""
    exclude = _load(home).get(str(settings), _Entry()).exclude
    return Path(exclude) if exclude else None


def purge_hook(home: Path) -> bool:
    """Remove the hook's own folder from the data folder; memory and token stay."""
    folder = home / "hook"
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True


def _before(entry: _Entry) -> tuple[bytes, dict[str, object]] | None:
    """The settings as they were before our first change, if the backup is still there and sound."""
    if entry.backup is None or not Path(entry.backup).is_file():
        return None
    file = read_settings(Path(entry.backup))
    return (file.raw, file.settings) if file.raw is not None else None


def _load(home: Path) -> dict[str, _Entry]:
    try:
        text = (home / "hook" / "installed.json").read_text(encoding="utf-8")
        entries = json.loads(text)
        return {
            str(path): _Entry(
                created=bool(entry.get("created")),
                backup=entry.get("backup"),
                events=tuple(event for event in entry.get("events", ()) if event in EVENTS),
                exclude=entry.get("exclude"),
            )
            for path, entry in entries.items()
        }
    except (OSError, ValueError, AttributeError):
        return {}  # without a record, uninstall still takes out our handlers; only less exactly


def _save(home: Path, record: dict[str, _Entry]) -> None:
    if not (home / "hook").is_dir():
        return  # purged, or another data folder's hooks were taken out: nothing to remember here
    text = json.dumps({path: asdict(entry) for path, entry in record.items()}, indent=2) + "\n"
    write_private(home / "hook" / "installed.json", text)
