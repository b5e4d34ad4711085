"""Many at once: writers, copies of one event, live capture beside an import, two workers. Nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.audit import audit
from bench.durability import Ledger, Site, eventually, marker
from bench.live import session_calls
from bench.traffic import event

from claude_mem.app.serve import LOCKED
from claude_mem.cli.import_run import run_import
from claude_mem.worker.probe import read_worker_json

pytestmark = pytest.mark.slow

CONNECTIONS, EACH = 500, 4
SAMPLE = (
    Path(__file__).parents[2]
    / "src/claude_mem/assets/sample/transcripts/-home-dev-slotwise/094a2d29-bd5d-4972-9c13-560bd2a947ea.jsonl"
)


@pytest.fixture(autouse=True)
def enough_files() -> None:
    """Some systems allow 256 open files, fewer than the connections of this test."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if most == resource.RLIM_INFINITY else min(4096, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def request(token: str, events: list[dict[str, Any]]) -> bytes:
    body = json.dumps({"events": events}).encode()
    head = (
        f"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of one answer, its body read to the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


async def writer_at(
    port: int, token: str, seed: int, ledger: Ledger, all_in: asyncio.Barrier
) -> None:
    """One connection: opened with all the others, then `EACH` events, each again until it is acknowledged."""
    rng = random.Random(seed)
    reader, line = await asyncio.open_connection("127.0.0.1", port)
    await all_in.wait()
    for _ in range(EACH):
        word = marker(rng)
        one = event(rng, word)
        while True:
            line.write(request(token, [one]))
            status = await answer(reader)
            if status == 202:
                ledger.acknowledge([(one["id"], word)])
                break
            assert status in (429, 503), f"an event was refused with {status}"
            await asyncio.sleep(0.1)
    line.close()
    await line.wait_closed()


async def many_writers(port: int, token: str, ledger: Ledger) -> None:
    all_in = asyncio.Barrier(CONNECTIONS)
    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(writer_at(port, token, number, ledger, all_in))


def test_500_concurrent_writers_lose_nothing(site: Site) -> None:
    site.start()
    ledger = Ledger()
    asyncio.run(many_writers(read_worker_json(site.files)["port"], site.token, ledger))
    assert len(ledger.acknowledged) == CONNECTIONS * EACH
    site.settle()
    site.stop()
    found = audit(site, ledger)
    assert found.problems == []
    assert found.rows == CONNECTIONS * EACH


def test_an_event_sent_by_twenty_at_once_is_stored_once(site: Site) -> None:
    site.start()
    rng, ledger = random.Random(1), Ledger()
    events = []
    for _ in range(10):
        word = marker(rng)
        events.append(event(rng, word))
        ledger.acknowledge([(events[-1]["id"], word)])
    barrier = threading.Barrier(20)
    answered: list[int] = []
    faults: list[BaseException] = []

    def send() -> None:
        try:
            with site.client() as client:
                for one in events:
                    barrier.wait(timeout=60)
                    receipt = client.post_events([one])
                    answered.append(receipt.accepted + receipt.duplicates)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            barrier.abort()
            faults.append(error)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert faults == []
    assert answered == [1] * 200
    site.settle()
    site.stop()
    found = audit(site, ledger)
    assert found.problems == []
    assert found.rows == len(events)


def contents(site: Site) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    with site.client() as client:
        for line in client.export_lines():
            row = json.loads(line)
            if row["kind"] == "prompt":
                found["prompt", row["prompt_type"], row["content"]] += 1
            elif row["kind"] == "observation":
                found["observation", row["title"], row["content"]] += 1
            elif row["kind"] == "code_change":
                found["code_change", row["file_path"], row["diff"]] += 1
    return found


def test_an_import_while_the_session_is_captured_live_doubles_nothing(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    folder = tmp_path / "projects"
    folder.mkdir()
    shutil.copy2(SAMPLE, folder)
    both, alone = make_site(), make_site()
    both.start()
    alone.start()
    imported: list[dict[str, Any]] = []
    importing = threading.Thread(target=lambda: imported.append(run_import(both.home, folder)))
    for number, (name, payload) in enumerate(session_calls(SAMPLE)):
        if number == 5:
            importing.start()
        process = both.hook(name, payload)
        assert process.communicate(timeout=60) == (b"", b"")
    importing.join(timeout=120)
    assert imported
    both.settle()
    run_import(alone.home, folder)
    assert contents(both) == contents(alone)


def test_of_workers_started_at_once_one_serves(site: Site) -> None:
    started = [site.serve() for _ in range(3)]
    serving = site.ready()
    others = [process for process in started if process.pid != serving.pid]
    assert len(others) == 2
    for process in others:
        _, said = process.communicate(timeout=60)
        assert process.returncode == LOCKED
        assert b"another worker serves this data folder" in said
    with site.client() as client:
        client.post_events([event(random.Random(2), "mkword")])
    (one,) = (process for process in started if process.pid == serving.pid)
    one.send_signal(signal.SIGTERM)
    one.communicate(timeout=60)
    # The server puts the signal's own end to a process that has drained and closed everything.
    assert one.returncode in (0, -signal.SIGTERM)
    assert not site.files.door.exists()


def test_supervisors_started_at_once_make_one_worker(site: Site) -> None:
    threads = [threading.Thread(target=site.launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    worker, supervisor = site.ready(), site.supervised()

    def only_these() -> bool:
        return set(site.processes()) == {worker.pid, supervisor}

    eventually(only_these, "one supervisor and one worker")
    time.sleep(0.5)  # long enough for a latecomer to show itself
    assert only_these()
