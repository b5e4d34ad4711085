"""`claude-mem install` and `uninstall`: make capture live in Claude Code, and take it out again."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import USAGE, emit, fail

if TYPE_CHECKING:
    from rich.console import Console

    from claude_mem.hook.installation import Done
    from claude_mem.hook.mcp_registration import Registered


class Scope(StrEnum):
    """Whose settings: this person's in all projects, or in this one (a file that stays local)."""

    USER = "user"
    PROJECT = "project"


@dataclass(slots=True)
class _Plan:
    """Where the hooks go, and what a person should know about it."""

    home: Path
    settings: Path
    root: Path | None  # of the git working tree, in project scope
    foreign: Path | None = None  # another program's database, left alone
    warnings: list[str] = field(default_factory=list)
    project: Path | None = None  # whose servers get ours, in project scope
    server: tuple[Registered, bool] | None = None  # what was done with the MCP server; wanted?


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("install")(install)
    app.command("uninstall")(uninstall)


def install(
    scope: Annotated[Scope, typer.Option(help="Whose settings get the hooks.")] = Scope.USER,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; take the proposals.")
    ] = False,
    events: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Only these hook events, or all.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="EVENT", help="Leave this one out (repeatable).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    mcp: Annotated[
        bool, typer.Option("--mcp/--no-mcp", help="Offer the memory tools (MCP server).")
    ] = True,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start the worker.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write the hooks into Claude Code's settings; what is there stays, and a backup is kept."""
    from claude_mem.cli.mcp import foreign_note, place_server
    from claude_mem.hook import installation, interpreter
    from claude_mem.hook.settings_file import SettingsError
    from claude_mem.worker.launch import supervisor_argv

    try:
        plan = _plan(scope, yes=yes or dry_run, as_json=as_json)
        chosen = _events(plan, events, without or [], as_json=as_json)
        plan.warnings += _warnings(plan)
        python = interpreter.choose()
        dry = installation.install(plan.home, plan.settings, python.path, chosen, dry_run=True)
        server = place_server(plan.home, python.path, plan.project, wanted=mcp, dry_run=True)
        if dry_run:
            plan.server = (server, mcp)
            _report(plan, dry, python.path, None, as_json=as_json, dry_run=True)
            return
        installation.prepare_home(plan.home, supervisor_argv(plan.home))
        done = installation.install(plan.home, plan.settings, python.path, chosen)
        plan.server = (place_server(plan.home, python.path, plan.project, wanted=mcp), mcp)
        plan.warnings += [foreign_note(server)] if server.foreign else []
    except SettingsError as error:
        step = "mend the file and run the command again; nothing was changed"
        fail(str(error), step, code="SETTINGS_REFUSED", as_json=as_json)
    except interpreter.NoInterpreterError as error:
        step = "install Python 3.11 or newer; nothing was changed"
        fail(str(error), step, code="NO_INTERPRETER", as_json=as_json)
    except OSError as error:
        step = "make that place writable and run the command again"
        fail(f"could not install: {error}", step, code="NOT_WRITABLE", as_json=as_json)
    if not python.lasting:
        plan.warnings.append(
            f"the hook runs with {python.path}, which goes away with this environment: "
            "install Python 3.11 or newer on the system and run `claude-mem install` again"
        )
    _keep_private(plan)
    _report(plan, done, python.path, _start(plan.home) if start else None, as_json=as_json)


def uninstall(
    scope: Annotated[Scope, typer.Option(help="Whose settings lose the hooks.")] = Scope.USER,
    purge_hook: Annotated[
        bool, typer.Option("--purge-hook", help="Remove the hook from the data folder too.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Nothing is asked; accepted as install does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Take out exactly what install put in. The memory stays."""
    del yes
    from claude_mem.hook import git, installation, mcp_registration
    from claude_mem.hook.home import default_home
    from claude_mem.hook.settings_file import SettingsError

    home = default_home()
    settings, root = _settings_path(scope)
    excluded = installation.noted_exclude(home, settings)
    try:
        project = _project(scope, root)
        config, key = mcp_registration.config_path(), str(project) if project else None
        done = installation.uninstall(home, settings)
        server = mcp_registration.uninstall(home, config, key)
        if excluded is not None and root is not None:
            git.include_again(root, settings, excluded)
        purged = purge_hook and installation.purge_hook(home)
        if purged:
            mcp_registration.purge_server(home)
    except SettingsError as error:
        step = "mend the file and run the command again; nothing was changed"
        fail(str(error), step, code="SETTINGS_REFUSED", as_json=as_json)
    except OSError as error:
        step = "make that place writable and run the command again"
        fail(f"could not uninstall: {error}", step, code="NOT_WRITABLE", as_json=as_json)
    data = {
        "ok": True,
        "changed": done.changed or server.changed,
        "settings": str(settings),
        "mcp": {"config": str(config), "removed": server.changed},
        "removed_events": list(done.events),
        "removed_file": done.removed_file,
        "backup": str(done.backup) if done.backup else None,
        "purged_hook": purged,
        "home": str(home),
    }

    def show(out: Console) -> None:
        if done.changed:
            out.print(f"Hooks taken out of {settings} ({len(done.events)} events).", markup=False)
        else:
            out.print(f"No hooks of ours in {settings}.", markup=False)
        if server.changed:
            out.print(f"MCP server taken out of {config}.", markup=False)
        out.print(f"The memory stays in {home}; `claude-mem stop` ends the worker.", markup=False)

    emit(data, show, as_json)


def _settings_path(scope: Scope) -> tuple[Path, Path | None]:
    from claude_mem.hook import git

    if scope is Scope.USER:
        folder = os.environ.get("CLAUDE_CONFIG_DIR") or "~/.claude"
        return Path(folder).expanduser().absolute() / "settings.json", None
    here = Path.cwd()
    root = git.root_of(here)
    return (root or here) / ".claude" / "settings.local.json", root


def _project(scope: Scope, root: Path | None) -> Path | None:
    """What the client knows the project by, in project scope."""
    return (root or Path.cwd()) if scope is Scope.PROJECT else None


def _plan(scope: Scope, *, yes: bool, as_json: bool) -> _Plan:
    """Decide on the data folder: another program's database is never touched."""
    from claude_mem.hook.home import (
        DATABASE,
        SECOND_HOME,
        default_home,
        is_damaged_database,
        is_foreign_database,
    )

    settings, root = _settings_path(scope)
    project = _project(scope, root)
    home = default_home()
    foreign = home / DATABASE
    if is_damaged_database(foreign):
        said = f"the first page of {foreign} is damaged, or it never was a database"
        step = "claude-mem db recover; or choose another data folder with CLAUDE_MEM_HOME"
        fail(said, step, code="DAMAGED_DATABASE", as_json=as_json)
    if not is_foreign_database(foreign):
        above = home.parent / DATABASE
        moved = home.name == SECOND_HOME and is_foreign_database(above)
        return _Plan(home, settings, root, foreign=above if moved else None, project=project)
    second = home / SECOND_HOME
    if is_foreign_database(second / DATABASE):
        step = "choose another data folder with CLAUDE_MEM_HOME"
        said = f"{foreign} and {second / DATABASE} belong to another program"
        fail(said, step, code="FOREIGN_DATABASE", as_json=as_json)
    said = f"{foreign} belongs to another program and stays untouched"
    if not yes:
        if as_json or not sys.stdin.isatty():
            step = f"run again with --yes to use {second}, or set CLAUDE_MEM_HOME"
            fail(said, step, code="FOREIGN_DATABASE", as_json=as_json)
        typer.confirm(f"{said}. Use {second} instead?", default=True, abort=True)
    return _Plan(second, settings, root, foreign=foreign, project=project)


def _events(plan: _Plan, only: str | None, without: list[str], *, as_json: bool) -> tuple[str, ...]:
    """The hook events to install, in the order of a session: as asked, else as the last time."""
    from claude_mem.hook.agents.claude import EVENTS
    from claude_mem.hook.installation import remembered_events

    asked = [name.strip() for name in (only or "").split(",") if name.strip()]
    unknown = [name for name in [*asked, *without] if name not in (*EVENTS, "all")]
    if unknown:
        step = f"known: {', '.join(EVENTS)}, or all"
        fail(f"no such hook event: {unknown[0]}", step, code="USAGE", as_json=as_json, status=USAGE)
    if not asked:
        asked = list(EVENTS) if without else list(remembered_events(plan.home, plan.settings))
    chosen = [name for name in EVENTS if (name in asked or "all" in asked) and name not in without]
    if not chosen:
        step = "leave at least one, or run `claude-mem uninstall`"
        fail("no hook event is left", step, code="USAGE", as_json=as_json, status=USAGE)
    return tuple(chosen)


def _warnings(plan: _Plan) -> list[str]:
    """What in the settings around works against us. Raises SettingsError for the target only."""
    from claude_mem.hook.settings_file import (
        SettingsError,
        has_own_plugin,
        ours_in,
        read_settings,
        upstream_signs,
    )

    user, _ = _settings_path(Scope.USER)
    folder = (plan.root or Path.cwd()) / ".claude"
    found: list[str] = []
    for path in dict.fromkeys(
        [plan.settings, user, folder / "settings.json", folder / "settings.local.json"]
    ):
        try:
            settings = read_settings(path).settings
        except SettingsError:
            if path == plan.settings:
                raise
            continue  # not ours to write, so not ours to judge
        for sign in upstream_signs(settings):
            what, _, name = sign.partition(" ")
            way = f"`claude plugin disable {name}`" if what == "plugin" else "remove it there"
            found.append(f"{path} also runs another claude-mem ({sign}), so both record: {way}")
        if settings.get("disableAllHooks"):
            found.append(f"{path} switches all hooks off (disableAllHooks): nothing is recorded")
        if path != plan.settings and ours_in(settings):
            found.append(f"{path} has our hooks too: one of the two is enough")
        if has_own_plugin(settings):
            found.append(f"{path} has our plugin on: its hooks stay silent from now on")
    return found


def _keep_private(plan: _Plan) -> None:
    """In project scope: nobody should commit a file with this machine's paths in it."""
    from claude_mem.hook import git, installation

    if plan.root is None or git.is_ignored(plan.settings):
        return
    if git.is_tracked(plan.settings):
        plan.warnings.append(f"{plan.settings} is under version control: `git rm --cached` it")
        return
    excluded = git.exclude(plan.root, plan.settings)
    if excluded is None:
        plan.warnings.append(f"git does not ignore {plan.settings}: add it to .gitignore")
    else:
        installation.note_exclude(plan.home, plan.settings, excluded)


def _start(home: Path) -> dict[str, Any]:
    from claude_mem.worker import control

    started = control.start(home)
    problem = started.problem
    return {
        "state": started.state,
        "pid": started.pid,
        "port": started.port,
        "problem": {"message": problem.message, "next_step": problem.advice} if problem else None,
    }


def _report(
    plan: _Plan,
    done: Done,
    python: str,
    worker: dict[str, Any] | None,
    *,
    as_json: bool,
    dry_run: bool = False,
) -> None:
    from claude_mem.cli.mcp import describe

    data = {
        "ok": True,
        "changed": done.changed or bool(plan.server and plan.server[0].changed),
        "dry_run": dry_run,
        "settings": str(done.settings),
        "events": list(done.events),
        "backup": str(done.backup) if done.backup else None,
        "home": str(plan.home),
        "hook": str(plan.home / "hook" / "hook.py"),
        "python": python,
        "foreign_database": str(plan.foreign) if plan.foreign else None,
        "import_command": _import_command(plan.foreign) if plan.foreign else None,
        "warnings": plan.warnings,
        "mcp": describe(plan.server[0], wanted=plan.server[1]) if plan.server else None,
        "worker": worker,
    }

    def show(out: Console) -> None:
        said = "would be installed" if dry_run else "installed"
        if not done.changed:
            said = "already installed"
        out.print(f"Hooks {said} in {done.settings}: {', '.join(done.events)}", markup=False)
        if done.backup:
            out.print(f"Backup: {done.backup}", markup=False)
        if plan.server and plan.server[1] and not plan.server[0].foreign:
            out.print(f"Tools:  MCP server claude-mem in {plan.server[0].config}", markup=False)
        out.print(f"Data:   {plan.home}", markup=False)
        if plan.foreign:
            out.print(
                f"Import: {data['import_command']}   (the other program's memory)", markup=False
            )
        for warning in plan.warnings:
            out.print("[bold yellow]Note:[/]   ", end="")
            out.print(warning, markup=False)
        _show_worker(out, worker)

    emit(data, show, as_json)


def _import_command(foreign: Path) -> str:
    return f"claude-mem import --upstream {shlex.quote(str(foreign))}"


def _show_worker(out: Console, worker: dict[str, Any] | None) -> None:
    if worker is None:
        return
    if worker["problem"]:
        out.print("[bold yellow]Note:[/]   the worker did not start: ", end="")
        out.print(f"{worker['problem']['message']}; {worker['problem']['next_step']}", markup=False)
        out.print("        Capture works all the same: events wait in the spool.")
    else:
        out.print(f"Worker: {worker['state'].replace('_', ' ')}, port {worker['port']}")
        out.print(
            "Next:   start a new Claude Code session; `claude-mem status` shows what arrives."
        )
