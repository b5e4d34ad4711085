"""Asks the system to read files into its cache: a program of its own, `python -I -S reading_ahead.py MOST FILE...`.

Of its own because whoever closes a file drops all locks that his process has on it (POSIX), SQLite's too. Does nothing
where the files have more than MOST bytes together. Imports nothing of ours, and as little as can be.
"""

import os
import sys

STEP = 128 * 1024  # what the system reads of one request at most, as it comes installed


def main(most: int, paths: list[str]) -> None:
    """What is in the cache already costs next to nothing; what cannot be opened is passed over."""
    os.nice(10)
    found = []
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        found.append((handle, os.fstat(handle).st_size))
    if sum(size for _, size in found) > most:
        return
    for handle, size in found:
        try:
            for at in range(0, size, STEP):
                os.posix_fadvise(handle, at, STEP, os.POSIX_FADV_WILLNEED)
        except OSError:
            continue  # a file system that cannot


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
