"""Naming a process with certainty: alive, and the one that was meant."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_mem.worker import processes
from claude_mem.worker.listeners import Listener, port_holder
from claude_mem.worker.processes import birth_mark, name_of, rss_bytes

NOBODY = 2**22 + 1  # above the largest pid of Linux


def test_a_living_process_has_one_birth_mark() -> None:
    assert birth_mark(os.getpid()) == birth_mark(os.getpid())
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert birth_mark(other.pid)
        assert birth_mark(other.pid) != birth_mark(os.getpid())
    finally:
        other.communicate()


def test_a_zombie_and_nobody_have_none(wait_for: Callable[[Callable[[], Any], str], Any]) -> None:
    ended = subprocess.Popen(["true"])
    wait_for(lambda: birth_mark(ended.pid) is None, "its end")
    assert Path(f"/proc/{ended.pid}").exists()  # not reaped yet
    ended.wait()
    assert birth_mark(NOBODY) is None
    assert rss_bytes(NOBODY) is None
    assert name_of(NOBODY) is None


@pytest.mark.parametrize("ask", [birth_mark, rss_bytes, name_of])
def test_ps_knows_it_too_where_there_is_no_proc(
    ask: Callable[[int], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A `ps` that answers as the one of macOS does."""
    script = tmp_path / "ps"
    script.write_text(
        "#!/bin/sh\n"
        'case "$2 $4" in\n'
        '  "stat=,lstart= 42") echo "S    Fri Nov 20 10:00:00 2026" ;;\n'
        '  "rss= 42") echo "  2048" ;;\n'
        '  "comm= 42") echo "/usr/local/bin/python3" ;;\n'
        '  "stat=,lstart= 43") echo "Z    Fri Nov 20 10:00:00 2026" ;;\n'
        "  *) exit 1 ;;\n"
        "esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(processes, "_LINUX", False)
    expected = {
        birth_mark: "Fri Nov 20 10:00:00 2026",
        rss_bytes: 2048 * 1024,
        name_of: "python3",
    }
    assert ask(42) == expected[ask]
    assert ask(NOBODY) is None
    assert birth_mark(43) is None


def test_without_ps_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(processes, "_LINUX", False)
    assert birth_mark(os.getpid()) is None
    assert rss_bytes(os.getpid()) is None


def test_a_name_is_printable_and_without_arguments(
    tmp_path: Path, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    odd = tmp_path / "odd\nname"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([odd, "600"])
    try:
        wait_for(lambda: name_of(process.pid) == "oddname", "its name")
    finally:
        process.kill()
        process.communicate()


def test_a_holder_that_may_not_be_seen_is_said_so() -> None:
    assert str(Listener(1, None, None)) == "a process of another user"
    assert str(Listener(1, 7, None)) == "process 7"
    assert str(Listener(1, 7, "nginx")) == "process 7 (nginx)"


@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
def test_a_listener_is_found(family: str) -> None:
    import socket

    kind = socket.AF_INET6 if ":" in family else socket.AF_INET
    with socket.create_server((family, 0), family=kind) as server:
        port = server.getsockname()[1]
        found = port_holder(port)
        assert found is not None
        assert found.pid == os.getpid()
    assert port_holder(port) is None
