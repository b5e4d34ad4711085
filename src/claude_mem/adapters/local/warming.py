"""Keeping files in the system's cache: a search of a store that lay still for a while waits for the disk, page by page.

Has `reading_ahead` ask for them, at most once in a while. Best effort, and holds nothing in memory: where the system
knows no such request (it is Linux's), or the files are a large part of the machine's memory, nothing is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from claude_mem.adapters.local import reading_ahead

EVERY_S: Final = 60.0
SHARE: Final = 8  # of the machine's memory: one part of so many is the most that is read
_PATIENCE_S: Final = 120.0  # of a disk that is that slow the rest is read when it is needed


class Warmer:
    """Reads the files that `files` names, at most once in `every_s` seconds."""

    def __init__(
        self,
        files: Callable[[], Iterable[Path]],
        every_s: float = EVERY_S,
        most: int | None = None,
    ) -> None:
        """`most` is how many bytes the files may have together; by default a share of the machine's memory."""
        self._files = files
        self._every_s = every_s
        self._most = _share_of_memory() if most is None else most
        self._at = float("-inf")
        self._thread: threading.Thread | None = None

    def begin(self) -> bool:
        """Begin to read, and return at once; whether it was begun. Raises nothing."""
        now = time.monotonic()
        is_running = self._thread is not None and self._thread.is_alive()
        if is_running or now - self._at < self._every_s or not hasattr(os, "posix_fadvise"):
            return False
        self._at = now
        # A daemon: it must hold up nobody's end, and leaves nothing half done.
        thread = threading.Thread(target=self._read, name="warmer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there is none to be had
            return False
        self._thread = thread
        return True

    def wait(self) -> None:
        """Return when nothing is being read."""
        if self._thread is not None:
            self._thread.join()

    def _read(self) -> None:
        command = [sys.executable, "-I", "-S", str(reading_ahead.__file__), str(self._most)]
        try:
            subprocess.run(
                [*command, *map(str, self._files())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return  # no process to be had, or too slow a disk: searches read what they need


def _share_of_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE
    except (OSError, ValueError):
        return 0
