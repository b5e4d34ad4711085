"""Files that lay still are read into the system's cache, once in a while, and only where they are no large part of it."""

from __future__ import annotations

import ctypes
import mmap
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from claude_mem.adapters.local import reading_ahead
from claude_mem.adapters.local.warming import Warmer

pytestmark = [
    pytest.mark.local,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux reads ahead on request"),
]

SIZE = 4 << 20
WELL = 60.0


def resident(path: Path) -> float:
    """The share of a file's pages that is in the system's cache."""
    size = path.stat().st_size
    told = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    with path.open("rb") as file:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    try:
        assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), told) == 0
    finally:
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return sum(page & 1 for page in told) / len(told)


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A file that is not in the cache."""
    path = tmp_path / "store.db"
    path.write_bytes(os.urandom(SIZE))
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)
    if resident(path) > 0.1:
        pytest.skip("this file system is in memory: nothing to read")
    return path


def test_files_are_read_once_in_a_while(cold: Path, tmp_path: Path) -> None:
    warmer = Warmer(lambda: [tmp_path / "gone", cold], every_s=WELL)
    assert warmer.begin()
    warmer.wait()
    assert resident(cold) > 0.9
    assert not warmer.begin(), "again at once"
    assert Warmer(lambda: [cold], every_s=0.0).begin()


def test_a_large_store_is_left_alone(cold: Path) -> None:
    warmer = Warmer(lambda: [cold], most=SIZE - 1)
    assert warmer.begin()
    warmer.wait()
    assert resident(cold) < 0.1


def test_no_lock_of_the_database_is_lost(tmp_path: Path) -> None:
    """Closing a file in the process that holds its locks would drop them."""
    path = tmp_path / "store.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    warmer = Warmer(lambda: [path])
    assert warmer.begin()
    warmer.wait()
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0); c.execute('SELECT 1 FROM t')"
    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "locked" in other.stderr
    holder.close()


def test_nothing_is_printed_and_nothing_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(reading_ahead.__file__), "1000"]
    done = subprocess.run([*command, str(tmp_path / "gone")], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
