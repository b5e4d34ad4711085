"""What a new session is told when the worker did not answer: a worker on its way up is waited for, a little; then
comes the context that was rendered last for this place.

Must never wait longer than the client notices, never trust a file that is not this user's own, never print what was
rendered for another place, and never raise. Part of the installed hook; the worker writes the files (`context`).
"""

import json
import os
import stat
import time
from collections.abc import Callable

WAIT_SECONDS = 2.0  # since the hook began; a worker is up in some 1.5
POLL_SECONDS = 0.02
RENDERED = "context"  # the folder of rendered contexts in the data folder
RENDERED_FORMAT = 1
LONGEST_FILE, LONGEST_CONTEXT = 256 << 10, 9_500  # bytes; characters: the client cuts at 10,000
# The conversation goes on with what it was given before: the same once more helps nobody.
STILL_THERE_ON = ("resume", "fork")

Ask = Callable[[float], bytes]


def await_answer(folder: str, ms: int, ask: Ask) -> bytes | None:
    """The answer of a worker that is coming up; None when none came until `WAIT_SECONDS` after `ms`.

    `ask` sends the event again, within the seconds it is given; the same id makes it the same event.
    """
    while (left := WAIT_SECONDS - (time.time() - ms / 1000)) > 0:
        if _has_given_up(folder, ms):
            return None
        try:
            return ask(min(left, WAIT_SECONDS))
        except (FileNotFoundError, ConnectionError):  # not there yet
            time.sleep(POLL_SECONDS)
        except (OSError, ValueError, LookupError):  # there, and slow or unwilling
            return None
    return None


def _has_given_up(folder: str, ms: int) -> bool:
    """Whether the supervisor has said, since the hook began, that starting the worker is hopeless."""
    try:
        return os.stat(folder + "/worker.failed").st_mtime * 1000 >= ms
    except OSError:
        return False


def last_rendered(
    folder: str, payload: dict[str, object] | None
) -> tuple[str, dict[str, object]] | None:
    """The context rendered last for the session's place, and its record; None when there is none to trust."""
    cwd = payload.get("cwd") if payload else None
    source = payload.get("source") if payload else None
    place = os.environb.get(b"CLAUDE_PROJECT_DIR", b"")
    if (not place or len(place) > 4096) and isinstance(cwd, str):
        place = cwd.encode("utf-8", "replace")
    if not place or source in STILL_THERE_ON:
        return None
    try:
        record = json.loads(_read_own(f"{folder}/{RENDERED}", _digest(place) + ".json"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("v") != RENDERED_FORMAT:
        return None
    text = record.get("text")
    if record.get("place") != os.fsdecode(place) or not isinstance(text, str):
        return None
    return (text, record) if text.strip() and len(text) <= LONGEST_CONTEXT else None


def note_given(
    folder: str, ms: int, payload: dict[str, object] | None, record: dict[str, object]
) -> None:
    """Tell the worker, for when it is back, what this session was given: not to give it once more."""
    session = payload.get("session_id") if payload else None
    if not isinstance(session, str) or not session:
        return
    name = _digest(session.encode("utf-8", "replace"))
    note = {"v": 1, "session": session, "at": ms, "units": record.get("units", [])}
    path = f"{folder}/{RENDERED}/{name}.given"
    try:
        handle = os.open(f"{path}.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, json.dumps(note).encode())
        finally:
            os.close(handle)
        os.rename(f"{path}.{os.getpid()}", path)
    except OSError:
        pass  # a full disk: then a memory may be given a second time, which is no harm


def _digest(data: bytes) -> str:
    from hashlib import sha256  # only here: it costs as much as all the rest

    return sha256(data).hexdigest()[:32]


def _read_own(folder: str, name: str) -> bytes:
    """A small regular file of this user's in a folder of theirs, no link; raises OSError for any other."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    above = os.open(folder, flags | os.O_DIRECTORY)
    try:
        handle = os.open(name, flags | os.O_NONBLOCK, dir_fd=above)
    finally:
        os.close(above)
    try:
        found = os.fstat(handle)
        owned = found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if not (stat.S_ISREG(found.st_mode) and owned and found.st_size <= LONGEST_FILE):
            raise PermissionError(name)
        return os.read(handle, LONGEST_FILE)
    finally:
        os.close(handle)
