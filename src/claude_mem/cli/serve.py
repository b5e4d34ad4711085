"""`claude-mem serve`: run in the foreground, for containers and service managers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_mem.cli.output import fail

if TYPE_CHECKING:
    import socket

    from claude_mem.app.server_settings import ServerSettings


class Profile(StrEnum):
    """Which engines it runs on."""

    LOCAL = "local"
    SERVER = "server"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    profile: Annotated[
        Profile,
        typer.Option(help="server: PostgreSQL, Redis and NATS; local: this machine's data folder."),
    ] = Profile.SERVER,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with settings of the server profile.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="The port.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many processes it is.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=255,
            help="How many of them record and run jobs, while the others answer; 0: all do both. Else half.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Refusals as one JSON object; log lines always are.")
    ] = False,
) -> None:
    """Serve until stopped (SIGTERM or Ctrl-C). Any number of these may run, on one machine or many."""
    if profile is Profile.LOCAL:
        raise typer.Exit(_serve_local())
    settings = _settings(config, as_json=as_json)
    count = processes or settings.processes
    wanted = settings.workers if workers is None else workers
    if wanted >= count:
        fail(
            f"{wanted} of {count} processes are to record and none would answer",
            "fewer --workers, or more --processes",
            code="BAD_CONFIGURATION",
            as_json=as_json,
        )
    recording = count // 2 if wanted < 0 else wanted
    listener = _bind(host or settings.host, port or settings.port, as_json=as_json)
    raise typer.Exit(_serve_fleet(settings, listener, config, (count - recording, recording)))


def _serve_local() -> int:
    from claude_mem.hook.home import default_home, make_private_folder
    from claude_mem.worker import supervisor

    home = default_home()
    make_private_folder(home)
    return supervisor.main(["--home", str(home), "--foreground"])


def _serve_fleet(
    settings: ServerSettings,
    listener: socket.socket,
    config: Path | None,
    counts: tuple[int, int],
) -> int:
    """`counts`: how many processes answer, and how many record. Without any of these, those that answer do both."""
    from claude_mem.worker.board import Board
    from claude_mem.worker.fleet import Fleet, replica_argv
    from claude_mem.worker.signals import Signals

    answering, recording = counts
    descriptor, board = listener.fileno(), Board.make(recording)
    file = str(config.absolute()) if config is not None else None
    told = ["--board-fd", str(board.descriptor), "--workers", str(recording)]
    fleet = Fleet(
        [
            *(replica_argv(descriptor, file, *told) for _ in range(answering)),
            *(replica_argv(None, file, *told, "--page", str(page)) for page in range(recording)),
        ],
        waiter=Signals(),
        note=_note,
        descriptors=[descriptor, board.descriptor],
        max_rss_mb=settings.max_rss_mb,
    )
    address, number = listener.getsockname()[:2]
    _note("info", f"listening on {address} port {number}")
    return fleet.run()


def _settings(config: Path | None, *, as_json: bool) -> ServerSettings:
    from claude_mem.app.server_settings import load
    from claude_mem.kernel.errors import Invalid

    try:
        return load(config)
    except Invalid as error:
        step = "set it and try again; docs/server.md names all of them"
        fail(error.message, step, code="BAD_CONFIGURATION", as_json=as_json)


def _bind(host: str, port: int, *, as_json: bool) -> socket.socket:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        fail(
            f"cannot listen on {host} port {port}: {error.strerror}",
            "choose another with --port, or stop whoever has it",
            code="PORT_TAKEN",
            as_json=as_json,
        )
    return listener


def _note(level: str, message: str) -> None:
    """As the processes' own log lines."""
    import json
    import sys
    from datetime import UTC, datetime

    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {"timestamp": at, "level": level, "message": message, "logger": "serve"}
    print(json.dumps(line), file=sys.stderr, flush=True)
