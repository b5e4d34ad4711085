"""Keeps a network namespace: brings loopback up, waits for the end of stdin, then ends all processes in it.

Run inside the new namespace, with nothing but the standard library. Because it ends with its stdin, whoever
started it may die in any way: nothing that lives on the island outlives it.
"""

import fcntl
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
PATIENCE_S = 20.0


def bring_loopback_up() -> None:
    """`ip link set lo up`, where there need be no `ip`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        asked = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(line, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(line, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | IFF_UP, b""))


def inhabitants() -> list[int]:
    """The processes of this network namespace but for this one."""
    here = Path("/proc/self/ns/net").readlink()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if (folder / "ns" / "net").readlink() == here:
                found.append(int(folder.name))
        except OSError:  # gone meanwhile, a zombie, or another user's: none of ours
            continue
    return found


def clear() -> None:
    """End them all; again as long as one of them starts another."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := inhabitants()) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def main() -> None:
    """Serve as keeper."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # only the end of stdin ends it
    bring_loopback_up()
    print("up", flush=True)
    sys.stdin.buffer.read()
    clear()


if __name__ == "__main__":
    main()
