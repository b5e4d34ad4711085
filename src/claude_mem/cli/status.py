"""`claude-mem status`: is it well, what waits, how large is it, what went wrong last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import emit
from claude_mem.cli.start import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from claude_mem.worker.diagnosis import Problem
    from claude_mem.worker.status import Status

_STATES = {
    "running": "[green]running[/]",
    "starting": "[yellow]starting, or not answering[/]",
    "restarting": "[yellow]down, about to be restarted[/]",
    "failed": "[red]failed[/]",
    "stopped": "stopped",
}
_MB = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show how the worker is, what waits to be indexed, what finds meanings, and how large the memory is."""
    from claude_mem.adapters.sqlite.waiting import waiting
    from claude_mem.app.meanings import meanings
    from claude_mem.worker import status as worker_status
    from claude_mem.worker.diagnosis import diagnose
    from claude_mem.worker.layout import Layout

    settings = load_settings(as_json=as_json)
    files = Layout(settings.home)
    found = worker_status.status(settings.home, cap_bytes=settings.max_store_mb * _MB)
    down = found.state in ("failed", "restarting")
    problem = diagnose(files, settings.port) if down else None
    pending = found.inbox_pending
    if found.worker is None:  # nobody to ask: the file itself tells
        pending = waiting(files.inbox)
    data: dict[str, Any] = {"ok": not down, **found.as_dict(), "inbox_pending": pending}
    data["problem"] = _as_dict(problem)
    meaning = meanings(settings, found.health)
    data["search_by_meaning"] = meaning.as_dict()
    data["hooks"] = installed_hooks(settings.home)
    data["plugin"] = plugin_state(settings.home)
    emit(data, lambda out: _render(out, found, data, problem), as_json)


def installed_hooks(home: Path) -> list[dict[str, Any]]:
    """The settings files that hold our hooks: {settings, events, home, error}.

    Looked at are the person's own, this folder's project's, and those that `install` remembers.
    """
    from claude_mem.hook.settings_file import SettingsError, ours_in, read_settings

    found: list[dict[str, Any]] = []
    for path in _candidates(home):
        try:
            ours = ours_in(read_settings(path).settings)
        except SettingsError as error:
            found.append({"settings": str(path), "events": [], "home": None, "error": str(error)})
            continue
        if ours:
            script = Path(str(next(iter(ours.values()))[0]["args"][-2]))
            serves = str(script.parent.parent)
            entry = {"settings": str(path), "events": sorted(ours), "home": serves, "error": None}
            found.append(entry)
    return found


def plugin_state(home: Path) -> dict[str, Any] | None:
    """Where our plugin is switched on, and whether its hooks are silent; None where it is not.

    They are silent where `install` put hooks into the settings: nothing is to be recorded twice.
    """
    from claude_mem.hook.settings_file import SettingsError, has_own_plugin, read_settings

    for path in _candidates(home):
        try:
            enabled = has_own_plugin(read_settings(path).settings)
        except SettingsError:  # told by `installed_hooks`
            continue
        if enabled:
            silent = any(found["events"] for found in installed_hooks(home))
            return {"settings": str(path), "silent": silent}
    return None


def _candidates(home: Path) -> list[Path]:
    """Settings files that may hold our hooks, each once."""
    own = Path(os.environ.get("CLAUDE_CONFIG_DIR") or "~/.claude").expanduser()
    paths = [own / "settings.json"]
    for folder in (Path.cwd(), *Path.cwd().parents):
        paths.append(folder / ".claude" / "settings.local.json")
        if (folder / ".git").exists():
            break
    try:
        remembered = json.loads((home / "hook" / "installed.json").read_bytes())
    except (OSError, ValueError):  # nothing was installed from this data folder
        remembered = {}
    paths += [Path(path) for path in remembered]
    return [path for path in dict.fromkeys(paths) if path.exists()]


def _as_dict(problem: Problem | None) -> dict[str, Any] | None:
    if problem is None:
        return None
    return {"code": problem.code, "message": problem.message, "next_step": problem.advice}


def _render(out: Console, found: Status, data: dict[str, Any], problem: Problem | None) -> None:
    rows = [("Worker", _STATES[found.state]), *_worker_rows(found)]
    if problem is not None:
        rows += [("Problem", _plain(problem.message)), ("Next", _plain(problem.advice))]
    elif found.state == "stopped":
        rows.append(
            ("Next", "claude-mem start (or the next session starts it; hooks spool meanwhile)")
        )
    rows.append(("Capture", _capture(found)))
    rows += [("Hooks", text) for text in _hook_texts(data, found.home)]
    rows.append(("Waiting", _waiting_text(found, data["inbox_pending"])))
    rows.append(("Meaning", meaning_text(data["search_by_meaning"])))
    rows.append(("Database", _database_text(found)))
    if found.last_error is not None:
        at = str(found.last_error.get("timestamp", ""))[:19].replace("T", " ")
        rows.append(("Last error", _plain(f"{at} {found.last_error['message']}")))
    rows.append(("Data", _plain(found.home)))
    for name, text in rows:
        out.print(f"[bold]{name:<11}[/]{text}")


def _worker_rows(found: Status) -> list[tuple[str, str]]:
    worker = found.worker
    if worker is None:
        return []
    memory = f", {worker.rss_bytes // _MB} MB" if worker.rss_bytes else ""
    uptime = f", up {_span(worker.uptime_seconds)}" if worker.uptime_seconds is not None else ""
    who = f"process {worker.pid}, version {worker.version}{uptime}{memory}"
    return [("", who), ("Address", f"http://127.0.0.1:{worker.port}" if worker.port else "-")]


def _capture(found: Status) -> str:
    if not found.paused:
        return "on"
    if found.paused_until is None:
        return "[yellow]paused[/] until `claude-mem resume`"
    from claude_mem.kernel.clock import to_iso

    return f"[yellow]paused[/] until {to_iso(found.paused_until)}"


def _hook_texts(data: dict[str, Any], home: str) -> list[str]:
    texts = []
    for hook in data["hooks"]:
        where = _plain(hook["settings"])
        if hook["error"]:
            texts.append(f"[red]{_plain(hook['error'])}[/]")
        elif hook["home"] != home:
            texts.append(f"{where} [yellow](for another data folder: {_plain(hook['home'])})[/]")
        else:
            texts.append(f"{where} ({len(hook['events'])} events)")
    if data["plugin"] is not None:
        silent = " (silent: the hooks above do its work)" if data["plugin"]["silent"] else ""
        texts.append(f"plugin, enabled in {_plain(data['plugin']['settings'])}{silent}")
    return texts or ["not installed: run `claude-mem install`"]


def _waiting_text(found: Status, pending: int | None) -> str:
    inbox = "unknown" if pending is None else f"{pending} events"
    spool = f"{found.spool.events} events ({_size(found.spool.bytes)})"
    refused = f", [red]{found.spool.refused} refused[/]" if found.spool.refused else ""
    count = found.spool.rejected
    rejected = f", [yellow]{count} rejected[/] (spool/rejected.jsonl)" if count else ""
    return f"inbox {inbox}, spool {spool}{refused}{rejected}"


def meaning_text(found: dict[str, Any]) -> str:
    """Search by meaning in a line: what makes vectors, and how much has some."""
    if found["state"] == "off":
        return "off (embedding_provider): search finds words"
    at = f" at {found['endpoint']}" if found["endpoint"] else ""
    kind = f" in {found['precision']}" if found["precision"] else ""
    text = _plain(f"{found['model']}{kind}{at}")
    if found["state"] == "no_model":
        text = f"[yellow]{_plain(found['reason'])}[/]; search finds words meanwhile"
    if not found["total"]:
        return text
    text += f"; {found['embedded']:,} of {found['total']:,} memories embedded"
    if found["waiting"]:
        text += f", {found['waiting']:,} wait"
        if found["replacing"]:
            text += _plain(f", after a change of model ({', '.join(found['replacing'])} before)")
        if found["reason"] and found["state"] != "no_model":
            text += f": [yellow]{_plain(found['reason'])}[/]"
    return text


def _database_text(found: Status) -> str:
    database = found.database
    cap = f" of {_size(database.cap_bytes)}" if database.cap_bytes else ""
    warning = f"  [yellow]{database.warning}[/]" if database.warning else ""
    return f"{_size(database.bytes)}{cap}{warning}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"


def _span(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
