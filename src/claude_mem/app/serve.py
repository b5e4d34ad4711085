"""The worker process: lock, migrate, bind, serve, drain.

Exit codes tell the supervisor what to do: 0 stopped; 75 another worker holds the lock; 76 the port is taken and no
other is allowed; 78 settings or database refused (a person is needed); anything else is a crash.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import hashlib
import json
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from claude_mem import __version__
from claude_mem.app import collecting
from claude_mem.app import settings as settings_module
from claude_mem.app.settings import Settings
from claude_mem.hook.home import default_home, ensure_token, make_private_folder, write_private
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import (
    DatabaseDamaged,
    ForeignDatabase,
    Invalid,
    MemError,
    NewerDatabase,
)
from claude_mem.worker.launch import keep_supervised
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import ProcessLock

STOPPED, LOCKED, PORT_TAKEN, REFUSED = 0, 75, 76, 78
_PORTS_TRIED = 50
_SOCKET_PATH_MAX = 100  # macOS allows 103 bytes, Linux 107
_BACKLOG = 2048
_ANNOUNCE_AGAIN_S = 2.0


class PortTaken(MemError):  # noqa: N818 - named for what happened
    """No port to listen on."""

    code = "PORT_TAKEN"


def main(arguments: list[str] | None = None) -> int:
    """Run a worker until it is told to stop; returns its exit code."""
    parser = argparse.ArgumentParser(prog="claude_mem.app.serve")
    parser.add_argument("--home", type=Path, default=None)
    home = parser.parse_args(arguments).home or default_home()
    try:
        settings = settings_module.load(home)
        make_private_folder(settings.home)
    except (MemError, OSError) as error:
        return _refuse(error, REFUSED)
    os.umask(0o077)  # every file of the data folder is its owner's alone
    lock = ProcessLock(Layout(settings.home).worker_lock, "worker")
    if not lock.acquire():
        return _refuse(MemError("another worker serves this data folder"), LOCKED)
    try:
        return _serve(settings)
    except PortTaken as error:
        return _refuse(error, PORT_TAKEN)
    except (DatabaseDamaged, ForeignDatabase, NewerDatabase, Invalid) as error:
        return _refuse(error, REFUSED)
    finally:
        lock.release()


def _refuse(error: BaseException, code: int) -> int:
    text = error.message if isinstance(error, MemError) else str(error)
    name = error.code if isinstance(error, MemError) else type(error).__name__
    print(json.dumps({"level": "error", "message": text, "code": name}), file=sys.stderr)
    return code


def _serve(settings: Settings) -> int:
    # Imported here: a refusal above must not wait for the web framework to load.
    import structlog
    import uvicorn

    from claude_mem.adapters.sqlite.connection import check_library
    from claude_mem.api.application import make_app
    from claude_mem.app import logs
    from claude_mem.app.build import build_local
    from claude_mem.app.embedders import make_embedder
    from claude_mem.app.rerankers import make_reranker
    from claude_mem.worker.deadline import DeadlineProtocol

    files = Layout(settings.home)
    logs.configure(files.worker_log, settings.log_level)
    log = structlog.get_logger("serve")
    check_library()
    # Many short Python steps share the interpreter with the writer threads: hand over often.
    sys.setswitchinterval(0.001)
    _migrate_apart(settings.database)
    tcp, port = _bind_tcp(settings)
    unix, address = _bind_unix(settings.home)
    try:
        system = build_local(settings, make_embedder(settings), make_reranker(settings))
    except BaseException:
        tcp.close()
        unix.close()
        raise
    started_at = to_iso(now_ms())

    async def announce() -> None:
        while True:
            try:
                _announce(settings, files, port, address, started_at)
            except OSError as error:  # a full disk: who knows the address is served meanwhile
                log.warning("announce.failed", reason=str(error))
                await asyncio.sleep(_ANNOUNCE_AGAIN_S)
            else:
                log.info("ready", port=port, version=__version__, pid=os.getpid())
                return

    class Server(uvicorn.Server):
        """Says when it is ready, and takes the door away before it stops answering."""

        announcing: asyncio.Task[None] | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and not self.should_exit:
                self.announcing = asyncio.create_task(announce())

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if self.announcing is not None:
                self.announcing.cancel()
            _withdraw(files, address)
            await system.parts.state["live"].close()  # streams have no end that could be waited for
            await super().shutdown(sockets)

    app = make_app(system.parts)
    collecting.settle()
    server = Server(
        uvicorn.Config(
            app,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=DeadlineProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=30,
        )
    )
    stopping = threading.Event()
    descriptor = os.environ.pop("CLAUDE_MEM_SUPERVISOR_FD", None)
    threading.Thread(
        target=keep_supervised,
        args=(settings.home, stopping),
        kwargs={"supervisor_fd": int(descriptor) if descriptor else None},
        daemon=True,
    ).start()
    try:
        server.run(sockets=[tcp, unix])
    finally:
        stopping.set()
        _withdraw(files, address)
    return STOPPED if server.started else 1


def _migrate_apart(path: Path) -> None:
    """Migrate in a child: what that loads, a fifth of the memory, is needed once, and a worker lives for weeks.

    To be called before any thread is started. What goes wrong there goes wrong again in the caller, which reports it.
    """
    from claude_mem.app.migrate import ensure_current, is_current

    if is_current(path):
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ensure_current(path)
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, 0)


def _bind_tcp(settings: Settings) -> tuple[socket.socket, int]:
    last = settings.port if settings.strict_port else settings.port + _PORTS_TRIED
    for port in range(settings.port, min(last, 65_535) + 1):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            continue
        return listener, port
    raise PortTaken(
        f"port {settings.port} is taken: stop its holder (claude-mem status names it), or choose another with "
        "CLAUDE_MEM_PORT or port in config.toml"
    )


def socket_path(home: Path) -> Path:
    """Where the Unix socket of a data folder lies: in it, or, where its path is too long for the OS, in a private
    folder under the temporary one.
    """
    path = home / "worker.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"claude-mem-{os.getuid()}-{digest}" / "worker.sock"


def _bind_unix(home: Path) -> tuple[socket.socket, str]:
    path = socket_path(home)
    make_private_folder(path.parent)
    if path.parent.stat().st_uid != os.getuid():
        raise MemError(f"{path.parent} belongs to another user")
    path.unlink(missing_ok=True)  # ours by the worker's lock; a dead worker left it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)  # in a folder only its owner can enter, so nobody was in between
    listener.listen(_BACKLOG)
    return listener, str(path)


def _announce(settings: Settings, files: Layout, port: int, address: str, started_at: str) -> None:
    token = ensure_token(settings.home)
    record: dict[str, Any] = {
        "pid": os.getpid(),
        "host": settings.host,
        "port": port,
        "socket": address,
        "version": __version__,
        "started_at": started_at,
        "python": sys.executable,
        "max_rss_mb": settings.max_rss_mb,
    }
    write_private(files.worker_json, json.dumps(record))
    write_private(files.door, f"unix:{address}\n{token}\n")


def _withdraw(files: Layout, address: str) -> None:
    for path in (files.door, files.worker_json, Path(address)):
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
