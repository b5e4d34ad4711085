"""`claude-mem demo`: what `make run` calls. Loads the bundled sample, searches it, leaves the worker running."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import console

_QUESTIONS = ("why not serializable isolation", "提醒 重复 发送")


def register(app: typer.Typer) -> None:
    """Add the command; hidden, because `make run` is how people meet it."""
    app.command("demo", hidden=True)(demo)


def demo(
    home: Annotated[Path, typer.Option(help="Where to keep the data.")],
) -> None:
    """Load the bundled sample (and, after a yes, your own transcripts) and search it."""
    home = home.absolute()
    os.environ["CLAUDE_MEM_HOME"] = str(home)
    out = console()
    out.print(f"Data folder: [bold]{home}[/]")
    _bring_model(home)
    with worker_client(home, as_json=False) as client:
        _load(home, sample_folder(), "the bundled sample")
        own = _own_transcripts()
        if own is not None and _asked(f"Load your own transcripts from {own} too?"):
            _load(home, own, "your transcripts")
        _search(client)
        health = client.health(fresh=True)
        counts = health["counts"]
        out.print(
            f"\n{counts['sessions']} sessions, {counts['prompts']} prompts, {counts['observations']} observations"
            f" and {counts['code_changes']} code changes are in the memory."
        )
        out.print(f"API:   [bold]{client.base_url}/api/v1[/]  (token: {home / 'token'})")
    for line in next_commands(home, _program()):
        out.print(line, markup=False)


def _bring_model(home: Path) -> None:
    """Have the model for meanings; without it everything works, and search finds words."""
    from claude_mem.app.embedders import install_model, model_folder, precision_of
    from claude_mem.app.settings import load
    from claude_mem.cli.progress import told
    from claude_mem.kernel.errors import Unavailable

    settings = load(home)
    if settings.embedding_by != "local" or not model_folder(settings).fault(precision_of(settings)):
        return
    out = console()
    out.print("Bringing the model that finds meanings (84 MB, once) ...")
    try:
        with told(as_json=False) as say:
            install_model(settings, say)
    except (Unavailable, OSError) as error:
        out.print("[yellow]Not brought[/]: search finds words, not meanings.")
        out.print(str(error), markup=False)
        out.print(f"Later: {model_command(home, _program())}", markup=False)


def model_command(home: Path, program: Path) -> str:
    """What brings the model, to be pasted into a shell as it is."""
    return f"CLAUDE_MEM_HOME={shlex.quote(str(home))} {shlex.quote(str(program))} model install"


def _program() -> Path:
    return Path(sys.executable).parent / "claude-mem"


def next_commands(home: Path, program: Path) -> list[str]:
    """What to type next, to be pasted into a shell as it is."""
    command, folder = shlex.quote(str(program)), shlex.quote(str(home))
    return [
        f"Try:   CLAUDE_MEM_HOME={folder} {command} search your words",
        "Stop:  make stop",
        f"Next:  {command} install   (makes capture live in Claude Code)",
    ]


def sample_folder() -> Path:
    """The bundled sample's transcripts."""
    return Path(__file__).parent.parent / "assets" / "sample" / "transcripts"


def _asked(question: str) -> bool:
    """A person's yes; on anything but a terminal nobody can say it."""
    return sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm(question, default=False)


def _own_transcripts() -> Path | None:
    base = Path(os.environ.get("CLAUDE_CONFIG_DIR") or "~/.claude").expanduser()
    folder = base / "projects"
    return folder if folder.is_dir() else None


def _load(home: Path, folder: Path, name: str) -> None:
    from claude_mem.cli.import_ import follows, run_import

    report: dict[str, Any] = run_import(home, folder)
    console().print(
        f"Loaded {name}: {report['new']} new events, {report['known']} known, from {report['files']} files."
    )
    if report["to_summarise"]:
        console().print(follows(report))


def _search(client: Any) -> None:
    from claude_mem.cli.search import render

    for question in _QUESTIONS:
        console().print(f"\n$ claude-mem search {question}", markup=False)
        render(console(), client.search(question, limit=3))
