"""Fixtures: a short private folder, an installed hook in it, a door to open."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hook_support import LOCAL_TOKEN, Answer, Door, Installed, answering, reply

from claude_mem.hook.bundle import write_hook


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for a Unix socket."""
    path = Path(tempfile.mkdtemp(prefix="cmh"))
    yield path
    for root, _, _ in os.walk(path):
        Path(root).chmod(0o700)
    shutil.rmtree(path)


@pytest.fixture
def hook(folder: Path) -> Installed:
    home = folder / "data"
    home.mkdir(mode=0o700)
    write_hook(home)
    return Installed(home)


@pytest.fixture
def open_door(hook: Installed) -> Iterator[Callable[..., Door]]:
    """Open the data folder's door with a given behaviour; TCP where `tcp` is set."""
    doors: list[Door] = []

    def start(answer: Answer | None = None, tcp: bool = False) -> Door:
        listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        listener.bind(("127.0.0.1", 0) if tcp else str(hook.home / "worker.sock"))
        listener.listen(64)
        where = (
            f"tcp:127.0.0.1:{listener.getsockname()[1]}"
            if tcp
            else f"unix:{hook.home / 'worker.sock'}"
        )
        (hook.home / "door").write_text(f"{where}\n{LOCAL_TOKEN}\n")
        door = Door(listener, answer or answering(reply()))
        threading.Thread(target=door.serve, daemon=True).start()
        doors.append(door)
        return door

    yield start
    for door in doors:
        door.let_go.set()
        door.listener.shutdown(socket.SHUT_RDWR)
        door.listener.close()
