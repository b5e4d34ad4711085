"""Opening files that someone else named. Must never wait for a writer: a named pipe is no transcript."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_NOTE_BYTES = 1 << 20


def open_regular(path: Path) -> BinaryIO:
    """A regular file, for reading. Raises OSError: for anything else (pipe, device, folder) too."""
    # Without O_NONBLOCK, opening a pipe lasts until somebody writes to it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_note(path: Path) -> bytes:
    """A small regular file, cut at 1 MiB. Raises OSError."""
    with open_regular(path) as file:
        return file.read(_NOTE_BYTES)
