"""One process of the server profile: it answers on a listening socket that it was given, or records and runs jobs.

Where no process does the one alone, each does both. Recording is work for the processor, and what shares its
interpreter waits for it: apart, an answer takes a quarter of the time under load.

Exit codes as of the local worker: 0 stopped; 78 settings or database refused (a person is needed). Must never migrate,
and never refuse to start because an engine is away: it says so in its health and goes on by itself when it is back.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from claude_mem.app import collecting, server_settings
from claude_mem.app.server_settings import ServerSettings
from claude_mem.kernel.errors import MemError, Unavailable
from claude_mem.worker.board import Board
from claude_mem.worker.child import SUPERVISOR_FD

STOPPED, REFUSED = 0, 78
_GRACE_S = 10
_SAY_EVERY_S = 1.0
_STEP_BACK = 5  # answering comes first: what is to be recorded is safe


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="claude_mem.app.replica")
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--listen-fd", type=int, default=None)
    parser.add_argument("--board-fd", type=int, default=None)
    parser.add_argument("--workers", type=int, default=0, help="how many record, beside this one")
    parser.add_argument("--page", type=int, default=0, help="which of those this one is")
    options = parser.parse_args(arguments)
    board = Board(options.board_fd, options.workers) if options.workers else None
    try:
        settings = server_settings.load(options.config)
        if options.listen_fd is None:
            return _record(settings, board, options.page)
        return _serve(settings, options.listen_fd, board)
    except MemError as error:
        print(f"claude-mem: {error.message}", file=sys.stderr)
        return REFUSED


def _begin(settings: ServerSettings) -> None:
    """What every process does first. Raises NewerDatabase."""
    from claude_mem.app import logs

    logs.configure(None, settings.log_level)
    # Many short Python steps share the interpreter with the database's threads: hand over often.
    sys.setswitchinterval(0.001)
    asyncio.run(_refuse_newer(settings))
    descriptor_of_fleet = os.environ.pop(SUPERVISOR_FD, None)
    if descriptor_of_fleet is not None:
        watch = threading.Thread(
            target=_end_with_fleet, args=(int(descriptor_of_fleet),), daemon=True
        )
        watch.start()


def _record(settings: ServerSettings, board: Board | None, page: int) -> int:
    import structlog
    import uvloop

    from claude_mem import __version__
    from claude_mem.app.build_server import build_server
    from claude_mem.app.embedders import make_embedder

    _begin(settings)
    os.nice(_STEP_BACK)
    system = build_server(settings, embedder=make_embedder(settings))

    async def run() -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        async with system.parts.lifespan(None):
            while not stopping.is_set():
                if board is not None:
                    board.write(page, system.parts.state["says"]())
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _SAY_EVERY_S)

    collecting.settle()
    structlog.get_logger("serve").info("recording", version=__version__, pid=os.getpid())
    uvloop.run(run())
    return STOPPED


def _serve(settings: ServerSettings, descriptor: int, board: Board | None) -> int:
    import structlog
    import uvicorn

    from claude_mem import __version__
    from claude_mem.api.application import make_app
    from claude_mem.app.build_server import build_server
    from claude_mem.app.embedders import make_embedder
    from claude_mem.app.rerankers import make_reranker
    from claude_mem.worker.deadline import DeadlineProtocol

    _begin(settings)
    listener = socket.socket(fileno=descriptor)
    system = build_server(settings, board, make_embedder(settings), make_reranker(settings))

    class Server(uvicorn.Server):
        """Ends live streams first: they have no end that could be waited for."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await system.parts.state["live"].close()
            await super().shutdown(sockets)

    app = make_app(system.parts)
    collecting.settle()
    server = Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=DeadlineProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=75,  # longer than what stands in front keeps its connections
        )
    )
    structlog.get_logger("serve").info("starting", version=__version__, pid=os.getpid())
    server.run(sockets=[listener])
    return STOPPED if server.started else 1


async def _refuse_newer(settings: ServerSettings) -> None:
    """Raises NewerDatabase. One that cannot be asked yet is no reason not to start: health asks again and again."""
    from claude_mem.adapters.postgres.database import PostgresDatabase
    from claude_mem.app.build_server import check_schema

    database = PostgresDatabase(settings.database_url, 1)
    try:
        await check_schema(database)
    except Unavailable:
        return
    finally:
        await database.close()


def _end_with_fleet(descriptor: int) -> None:
    """Stop when whoever started us is gone: nobody would restart us, and its successor starts others."""
    while os.read(descriptor, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
