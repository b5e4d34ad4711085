"""The data folder as the agent's side sees it: private files, the token, whose database lies there.

Standard library only. Must never open a database another program made, and never print a token.
"""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

APPLICATION_ID = 0x434D454D  # "CMEM": SQLite's `PRAGMA application_id` of our databases
DATABASE = "claude-mem.db"
TOKEN_PREFIX = "cm_sk_local_"  # noqa: S105 - a public prefix
SECOND_HOME = "v2"
_HEADER = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_NO_FILE = b"no file"  # what stands for the header of a folder: nobody's mark
# A schema keeps the text that made each table, on one of the first pages: these two are in every file of ours.
_OUR_TABLES = (b"CREATE TABLE ingested_events", b"CREATE TABLE dead_letters")
_SCHEMA_BYTES = 1 << 20


def base_home(environ: Mapping[str, str] | None = None) -> Path:
    """What is configured: `CLAUDE_MEM_HOME`, else `~/.claude-mem`. Absolute, not resolved."""
    env = os.environ if environ is None else environ
    return Path(env.get("CLAUDE_MEM_HOME") or "~/.claude-mem").expanduser().absolute()


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """The data folder to use: `base_home()`, or the `v2` in it that `install` made.

    `install` makes `v2` where another program's database lies in the configured folder; from then
    on every command means that one.
    """
    base = base_home(environ)
    second = base / SECOND_HOME
    header = _header(base / DATABASE)
    moved = (second / "token").is_file() and bool(header) and not _is_marked(header)
    return second if moved else base


def is_foreign_database(path: Path) -> bool:
    """Whether there is a database at `path` that another program made.

    Reads its bytes only (application id: bytes 68..71, big-endian; SQLite file format 1.3.9):
    opening it through SQLite could already change its -wal and -shm files. An empty file is
    nobody's, and one without a sound header is no program's any more: see `is_damaged_database`.
    A folder of that name is not ours either.
    """
    return _has_another_mark(path) and not is_damaged_database(path)


def is_damaged_database(path: Path) -> bool:
    """Whether the file at `path` begins with no sound header, or has our tables under another mark.

    What begins with a sound header is damaged further on at most, which only SQLite can tell.
    """
    if not _has_another_mark(path) or path.is_dir():
        return False
    with path.open("rb") as file:
        start = file.read(_SCHEMA_BYTES)
    if not start.startswith(_HEADER) or len(start) < _HEADER_BYTES:
        return True
    return any(table in start for table in _OUR_TABLES)


def _has_another_mark(path: Path) -> bool:
    header = _header(path)
    return bool(header) and not (_is_marked(header) and header.startswith(_HEADER))


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except IsADirectoryError:
        return _NO_FILE
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _is_marked(header: bytes) -> bool:
    return int.from_bytes(header[68:72], "big") == APPLICATION_ID


def make_private_folder(path: Path) -> Path:
    """Make a folder only its owner can enter (0700), also when it exists with a looser mode."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file's content atomically and durably; a reader sees the old or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def ensure_token(home: Path) -> str:
    """The local API token of a data folder, made on first use (mode 0600).

    Of several processes that ask at the same moment one makes it, under a lock on the folder.
    """
    make_private_folder(home)
    handle = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        path = home / "token"
        token = _read_token(path)
        if not token:
            token = TOKEN_PREFIX + secrets.token_urlsafe(32)
            write_private(path, token)
        return token
    finally:
        os.close(handle)


def _read_token(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
