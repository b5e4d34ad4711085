"""`claude-mem start`, `stop`, `restart`: the worker of this data folder."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import emit, fail

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mem.app.settings import Settings
    from claude_mem.worker.control import Started, Stopped

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("restart")(restart)


def start(timeout: Timeout = 10.0, as_json: Json = False) -> None:
    """Start the worker, or replace an older program's. Says so when it runs already."""
    from claude_mem.worker import control

    settings = load_settings(as_json=as_json)
    started = control.start(settings.home, timeout, port=settings.port)
    _keep_hook_current(settings.home, started)
    show_started(started, as_json=as_json)


def restart(timeout: Timeout = 10.0, as_json: Json = False) -> None:
    """Stop the worker, which drains first, and start it again."""
    from claude_mem.worker import control

    settings = load_settings(as_json=as_json)
    started = control.restart(settings.home, timeout, port=settings.port)
    _keep_hook_current(settings.home, started)
    show_started(started, as_json=as_json)


def stop(timeout: Timeout = 35.0, as_json: Json = False) -> None:
    """Stop the worker: it finishes what it has taken. Hooks keep spooling; nothing is lost."""
    from claude_mem.adapters.sqlite.waiting import waiting
    from claude_mem.hook.home import default_home
    from claude_mem.worker import control
    from claude_mem.worker.layout import Layout

    home = default_home()
    stopped = control.stop(home, timeout)
    if not stopped.ok:
        who = f"process {stopped.pid}" if stopped.pid else "a process that cannot be named"
        fail(
            f"the worker ({who}) has not stopped within {timeout:g} s; it may still be draining",
            "wait and run `claude-mem stop` again, or see `claude-mem logs`",
            code="STILL_RUNNING",
            as_json=as_json,
        )
    pending = waiting(Layout(home).inbox)
    data = {"ok": True, "state": stopped.state, "inbox_pending": pending}
    emit(data, lambda out: out.print(_stopped_text(stopped, pending)), as_json)


def _keep_hook_current(home: Path, started: Started) -> None:
    """Let the data folder hold this program's hook and the plan to start it: the plugin needs them.

    A newer program's are left alone. What cannot be written is no reason to have no worker.
    """
    from claude_mem import __version__
    from claude_mem.hook.bundle import installed_version
    from claude_mem.hook.installation import prepare_home
    from claude_mem.worker.launch import supervisor_argv

    if started.problem is not None or started.version != __version__:
        return
    if installed_version(home) == __version__ and _plan_holds(home):
        return
    with suppress(OSError):
        prepare_home(home, supervisor_argv(home))


def _plan_holds(home: Path) -> bool:
    """Whether the program is still where the hook's plan to start it says."""
    try:
        plan = json.loads((home / "hook" / "launch.json").read_bytes())
        return os.access(plan["argv"][0], os.X_OK)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def load_settings(*, as_json: bool) -> Settings:
    """The settings, or an end with the name of the bad one."""
    from claude_mem.app.settings import load
    from claude_mem.kernel.errors import Invalid

    try:
        return load()
    except Invalid as error:
        step = "correct it and try again"
        fail(error.message, step, code="BAD_CONFIGURATION", as_json=as_json)


def show_started(started: Started, *, as_json: bool) -> None:
    """Tell what a start did; ends with an error when it failed."""
    if started.problem is not None:
        problem = started.problem
        if not as_json:
            _show_tail(problem.log_tail, problem.message)
        fail(problem.message, problem.advice, code=problem.code.upper(), as_json=as_json)
    data: dict[str, Any] = {
        "ok": True,
        "state": started.state,
        "pid": started.pid,
        "port": started.port,
        "version": started.version,
        "replaced": started.replaced,
    }
    emit(data, lambda out: out.print(_started_text(started)), as_json)


def _started_text(started: Started) -> str:
    where = f"process {started.pid}, version {started.version}, port {started.port}"
    return {
        "started": f"[green]Started[/] ({where}).",
        "already_running": f"Runs already ({where}).",
        "upgraded": f"[green]Replaced[/] version {started.replaced} ({where}).",
        "newer_running": f"A newer program's worker runs and is left alone ({where}). "
        "Upgrade this one, or stop it first with: claude-mem stop",
    }[started.state]


def _stopped_text(stopped: Stopped, pending: int | None) -> str:
    text = {"stopped": "[green]Stopped[/].", "not_running": "It was not running."}[stopped.state]
    if pending:
        text += f" {pending} events wait in the inbox and are indexed after the next start."
    return text


def _show_tail(lines: tuple[str, ...], said: str) -> None:
    """What the worker said last, in words; what is told anyway is told once."""
    from rich.text import Text

    from claude_mem.cli.output import console

    out = console(stderr=True)
    for line in map(_in_words, lines):
        if line and line not in said:
            out.print(Text(line, style="dim"))


def _in_words(line: str) -> str:
    """The message of a line of the log; any other line as it is."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    return str(record.get("message", "")) if isinstance(record, dict) else line
