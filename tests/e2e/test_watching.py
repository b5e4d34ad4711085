"""Watching a real worker: told live, through kills and a restart, without a gap and without a repeat."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.durability import Site, eventually

from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.sdk.local import follow
from claude_mem.sdk.stream import Event

pytestmark = pytest.mark.slow


def notes(site: Site, count: int) -> set[str]:
    """Record notes; their titles."""
    titles = [f"note {new_id()}" for _ in range(count)]
    with site.client() as client:
        client.post_events(
            [
                {
                    "id": new_id(),
                    "type": "observation.added",
                    "occurred_at": to_iso(now_ms()),
                    "agent": "claude-code",
                    "session": "watched",
                    "project": "ledger",
                    "data": {"observation_type": "info", "content": "Seen", "title": title},
                }
                for title in titles
            ]
        )
    return set(titles)


class Watcher:
    """Follows a site on a thread of its own."""

    def __init__(self, site: Site) -> None:
        self.events: list[Event] = []
        self.losses: list[str] = []
        self.ready = threading.Event()
        self._stream = follow(site.home, types=["observation.added"], lost=self.losses.append)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        eventually(lambda: self._stream.last_event_id, "the stream is open")

    def has(self, titles: set[str]) -> None:
        eventually(lambda: titles <= {it.data["title"] for it in list(self.events)}, "told")

    def _run(self) -> None:
        for event in self._stream:
            self.events.append(event)


def test_a_watcher_hears_everything_once_through_kills_and_a_restart(
    make_site: Callable[[], Site],
) -> None:
    site = make_site()
    watcher = Watcher(site)
    told = notes(site, 3)
    watcher.has(told)
    for _ in range(2):
        worker = site.ready()
        assert worker.pid is not None
        told |= notes(site, 5)  # some of them may not have been told before the kill
        os.kill(worker.pid, signal.SIGKILL)
        site.ready(but=worker.pid)
        told |= notes(site, 5)
        watcher.has(told)
    assert len(watcher.losses) >= 2
    titles = [it.data["title"] for it in watcher.events]
    assert len(titles) == len(set(titles))
    assert set(titles) == told


def test_open_streams_do_not_hold_up_a_stop(make_site: Callable[[], Site]) -> None:
    site = make_site()
    Watcher(site)
    worker = site.ready()
    assert worker.pid is not None
    log = site.files.worker_log
    os.kill(worker.pid, signal.SIGTERM)
    eventually(lambda: b'"event": "stopped"' in _lines(log) or b"stopped" in _lines(log), "stop")
    assert b"timeout graceful shutdown exceeded" not in _lines(log)


def _lines(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@contextlib.contextmanager
def watching(site: Site, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "claude_mem", "watch", *arguments],
        env=site.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As from a terminal: whoever runs tests in the background has it ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_command_shows_a_line_an_event_and_ends_clean(make_site: Callable[[], Site]) -> None:
    site = make_site()
    with watching(site, "--json", "--type", "observation.added") as process:
        assert process.stdout is not None
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reading.start()
        told: set[str] = set()

        def seen() -> bool:
            nonlocal told
            told |= notes(site, 1)  # it takes a while until the command listens
            return bool(lines)

        eventually(seen, "a line")
        body = json.loads(lines[0])
        assert set(body) == {"id", "type", "at", "data"}
        assert body["data"]["title"] in told
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    with watching(site, "--type", "nonsense") as process:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "nonsense" in complaint
        assert "observation.added" in complaint or "types" in complaint
