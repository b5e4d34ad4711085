"""One process per role and data folder: a lock that the kernel lets go of when its holder dies.

Owns `worker.lock` and `supervisor.lock`: `flock` on a file whose content says who holds it. The
file outlives the process and is never removed (removing it would let two processes lock two files
of one name); its content means nothing unless the lock is held. Never signals a process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from claude_mem import __version__
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.worker.processes import birth_mark

# Someone who only looks holds the lock (shared) for some microseconds; an attempt that meets such a
# look tries again for this long before it believes that the lock is taken.
_LOOK_GRACE = 0.1
_RETRY_EVERY = 0.01
_WRITE_GRACE = 0.25  # between taking the lock and having written who took it
_MAX_RECORD = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT)

_held: set[int] = set()


def _let_go_in_child() -> None:
    """A forked child shares the open file: it would keep the lock after its parent's death."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


class Holder(NamedTuple):
    """Who holds a lock. `pid` is None when it is held by a process that cannot be named with
    certainty.
    """

    pid: int | None
    version: str
    started_at: str
    role: str


class ProcessLock:
    """Exclusive while this process lives or until `release`; inherited by no child."""

    def __init__(self, path: Path, role: str, version: str = __version__) -> None:
        self._path = path
        self._role = role
        self._version = version
        self._descriptor: int | None = None

    def acquire(
        self,
        timeout: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> bool:
        """Take the lock, waiting at most `timeout` seconds. False when another process holds it.

        Raises OSError when the file cannot be made or the file system has no locks.
        """
        deadline = clock() + max(timeout, _LOOK_GRACE)
        while True:
            if self._descriptor is not None or self._attempt():
                return True
            if clock() >= deadline:
                return False
            sleep(_RETRY_EVERY)

    def release(self) -> None:
        """Let the next one have it; harmless when it is not held."""
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            # The next holder must not be mistaken for us while it has not signed yet.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def intact(self) -> bool:
        """Whether the lock is held and the file at its path is still the locked one.

        It is not when someone removed the data folder: its processes should end then.
        """
        if self._descriptor is None:
            return False
        try:
            there = self._path.stat()
        except OSError:  # gone, or no longer ours to see
            return False
        mine = os.fstat(self._descriptor)
        return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)

    def _attempt(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        if not self.intact():  # removed and made anew between opening and locking
            self._descriptor = None
            os.close(descriptor)
            return False
        _held.add(descriptor)
        self._sign(descriptor)
        return True

    def _sign(self, descriptor: int) -> None:
        record = {
            "pid": os.getpid(),
            "version": self._version,
            "started_at": to_iso(now_ms()),
            "role": self._role,
            "birth": birth_mark(os.getpid()),
        }
        body = json.dumps(record).encode()
        try:
            os.pwrite(descriptor, body, 0)
            os.ftruncate(descriptor, len(body))
        except OSError as error:
            # On a full disk the lock still does its work; only its holder has no name.
            if error.errno not in _FULL:
                raise


def holder(path: Path) -> Holder | None:
    """Who holds the lock at `path`; None when nobody does. Found out by trying it, not by believing
    a pid.

    The named pid is that of a living process born when the lock's writer was, so a stale file or a
    pid that was given out again is never taken for the holder.
    """
    deadline = time.monotonic() + _WRITE_GRACE
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            if _is_free(descriptor):
                return None
            found = _read_record(descriptor)
        finally:
            os.close(descriptor)
        if found is not None:
            return found
        if time.monotonic() >= deadline:
            return Holder(None, "", "", "")
        time.sleep(_RETRY_EVERY)


def wait_until_free(path: Path) -> None:
    """Block until nobody holds the lock at `path`, at no cost meanwhile. The lock is not kept."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _read_record(descriptor: int) -> Holder | None:
    """What the lock says about its holder; None while it is half written or names someone who is
    gone.
    """
    try:
        record = json.loads(os.pread(descriptor, _MAX_RECORD, 0))
        pid = int(record["pid"])
        found = Holder(pid, str(record["version"]), str(record["started_at"]), str(record["role"]))
        birth = record["birth"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if birth is not None and birth_mark(pid) == birth else None
