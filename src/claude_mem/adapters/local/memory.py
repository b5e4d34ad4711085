"""Giving memory back to the system that a burst of work left behind."""

from __future__ import annotations

import ctypes
import gc
import sys


def release() -> None:
    """Collect what nobody holds, and have the C library return free pages; elsewhere than on glibc only the first.

    A worker runs for weeks and works in bursts (an import, a rebuild): without this it keeps its highest tide.
    """
    gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own: musl has none
    if trim is not None:
        trim(0)
