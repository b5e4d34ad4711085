"""The spool: whole lines, each once, from many writers that may be killed, beside a reader."""

import fcntl
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hook_support import Installed, payload

from claude_mem.hook import append as append_module
from claude_mem.hook.append import SpoolFull, append, count_refused
from claude_mem.hook.spool import BadLine, SpoolLine, read, status, take


def record(name: str, size: int = 0) -> bytes:
    """A spool line with a recognisable id."""
    body = {"session_id": "s", "filler": "f" * size}
    line = {"v": 1, "id": name, "ms": 1, "agent": "a", "event": "Stop", "project_dir": ""}
    return json.dumps(line | {"payload": body}).encode()


def drain(spool: Path) -> tuple[list[str], list[BadLine]]:
    """Take and read everything, like the worker does: ids, and what was no line."""
    ids, bad = [], []
    for path in take(spool):
        for line in read(path):
            if isinstance(line, BadLine):
                bad.append(line)
            else:
                ids.append(line.id)
        path.unlink()
    return ids, bad


def write_many(home: str, writer: int, count: int) -> None:
    """A process of its own: `count` lines of mixed length."""
    generator = random.Random(writer)
    for number in range(count):
        append(home, "Stop", record(f"{writer}/{number}", generator.choice([10, 400, 9000, 70000])))


@pytest.mark.parametrize("reader", [False, True], ids=["alone", "beside a reader"])
def test_sixteen_writers_lose_nothing_and_double_nothing(folder: Path, reader: bool) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_many, args=(str(folder), number, 50)) for number in range(16)
    ]
    for writer in writers:
        writer.start()
    ids: list[str] = []
    while reader and any(writer.is_alive() for writer in writers):
        if (folder / "spool").exists():
            taken, bad = drain(folder / "spool")
            assert not bad
            ids += taken
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    taken, bad = drain(folder / "spool")
    assert not bad
    assert sorted(ids + taken) == sorted(f"{w}/{n}" for w in range(16) for n in range(50))


_ENDLESS = """
import sys
sys.path[:0] = [{source!r}, {here!r}]
from test_hook_spool import record
from claude_mem.hook.append import append
number = 0
while True:
    name = f"{{sys.argv[2]}}/{{number}}"
    append(sys.argv[1], "Stop", record(name, 300_000))
    print(name, flush=True)
    number += 1
"""


def test_a_writer_killed_at_any_moment_harms_no_other_line(folder: Path) -> None:
    """What a writer reported as written is there, whole and once, whoever was killed beside it."""
    (folder / "hook").mkdir()
    (folder / "hook" / "limits").write_text(f"{1 << 34} {1 << 34} {1 << 34}")
    code = _ENDLESS.format(
        source=str(Path(append_module.__file__).parents[2]), here=str(Path(__file__).parent)
    )
    generator = random.Random(7)
    reported: list[str] = []
    ids: list[str] = []
    for round_number in range(12):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(folder), f"{round_number}.{number}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            reported.append(writer.stdout.readline().strip())  # it is at work
        time.sleep(generator.random() * 0.05)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            reported += [line.strip() for line in writer.communicate()[0].splitlines(keepends=True)]
        append(str(folder), "Stop", record(f"after {round_number}"))
        reported.append(f"after {round_number}")
        taken, bad = drain(folder / "spool")
        ids += taken
        assert len(bad) <= len(writers)
    assert len(ids) == len(set(ids))
    assert set(reported) <= set(ids)


def test_a_torn_end_is_closed_before_the_next_line(folder: Path) -> None:
    append(str(folder), "Stop", record("first"))
    with (folder / "spool" / "active.jsonl").open("ab") as file:
        file.write(record("torn")[:30])
    append(str(folder), "Stop", record("second"))
    ids, bad = drain(folder / "spool")
    assert ids == ["first", "second"]
    assert [line.text for line in bad] == [record("torn")[:30]]
    assert bad[0].number == 2


def test_a_lock_held_for_ever_does_not_stop_a_writer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_module, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr("claude_mem.hook.spool.LOCK_SECONDS", 0.05)
    append(str(folder), "Stop", record("first"))
    with (folder / "spool" / "active.jsonl").open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        append(str(folder), "Stop", record("second"))
        assert [path.name.startswith("ready-") for path in take(folder / "spool")] == [True]
    assert sorted(drain(folder / "spool")[0]) == ["first", "second"]


def test_taking_is_safe_to_repeat_after_a_crash(folder: Path) -> None:
    append(str(folder), "Stop", record("first"))
    first = take(folder / "spool")
    append(str(folder), "Stop", record("second"))
    again = take(folder / "spool")
    assert again[0] == first[0]
    assert drain(folder / "spool")[0] == ["first", "second"]
    assert take(folder / "spool") == []
    assert take(folder / "nowhere") == []


def test_a_write_that_fails_half_way_is_undone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(str(folder), "Stop", record("first"))
    real = os.write
    written = iter([lambda fd, data: real(fd, data[:20])])

    def full(handle: int, data: bytes) -> int:
        step = next(written, None)
        if step is None:
            raise OSError(28, "No space left on device")
        return step(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            append(str(folder), "Stop", record("second"))
    append(str(folder), "Stop", record("third"))
    assert drain(folder / "spool") == (["first", "third"], [])


def test_a_bound_counts_taken_files_too(folder: Path) -> None:
    (folder / "hook").mkdir()
    (folder / "hook" / "limits").write_text("3000 3000 3000")
    append(str(folder), "Stop", record("first", 2000))
    take(folder / "spool")
    with pytest.raises(SpoolFull):
        append(str(folder), "Stop", record("second", 2000))
    drain(folder / "spool")
    append(str(folder), "Stop", record("third", 2000))


@pytest.mark.parametrize("text", ["", "1 2", "a b c", "1 2 3 4"])
def test_unreadable_limits_leave_the_built_in_ones(folder: Path, text: str) -> None:
    (folder / "hook").mkdir()
    (folder / "hook" / "limits").write_text(text)
    append(str(folder), "Stop", record("kept", 10_000))
    assert status(folder / "spool").events == 1


def test_status_counts_lines_bytes_and_refusals(folder: Path) -> None:
    assert status(folder / "spool").events == 0
    append(str(folder), "Stop", record("first"))
    take(folder / "spool")
    append(str(folder), "Stop", record("second"))
    for event in ("PostToolUse", "PostToolUse", "Stop"):
        count_refused(str(folder), event)
    found = status(folder / "spool")
    assert found.events == 2
    assert found.bytes == 2 * len(record("first")) + len("second") - len("first") + 2
    assert found.refused == {"PostToolUse": 2, "Stop": 1}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'"x"',
        b'{"v": 2, "id": "x"}',
        b'{"v": 1, "id": 5, "ms": 1, "payload": {}}',
        b'{"v": 1, "id": "x", "ms": "1", "payload": {}}',
        b'{"v": 1, "id": "x", "ms": 1}',
        b'{"v": 1, "id": "x", "ms": 1, "payload": {}, "payload_text": ""}',
        b'{"v": 1, "id": "x", "ms": 1, "payload": []}',
        b"\xff\xfe",
        b'{"a":' * 5000,
    ],
)
def test_a_line_that_is_no_record_is_reported_and_passed_over(folder: Path, line: bytes) -> None:
    path = folder / "file.jsonl"
    path.write_bytes(record("a") + b"\n" + line + b"\n\n" + record("b"))
    found = list(read(path))
    assert [type(item) for item in found] == [SpoolLine, BadLine, SpoolLine]


def test_sixteen_hooks_at_once_spool_every_event_once(hook: Installed) -> None:
    raw = json.dumps(payload("PostToolUse", tool_name="Bash", filler="f" * 3000)).encode()
    running = []
    for number in range(48):
        process = subprocess.Popen(hook.command(f"Event{number}"), stdin=subprocess.PIPE, env={})
        assert process.stdin is not None
        process.stdin.write(raw)
        process.stdin.close()
        running.append(process)
        if number % 16 == 15:
            assert [process.wait() for process in running] == [0] * len(running)
    lines = hook.lines()
    assert sorted(line.event for line in lines) == sorted(f"Event{n}" for n in range(48))
    assert len({line.id for line in lines}) == 48


def test_what_was_lost_long_ago_stays_counted_but_is_no_alarm(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    assert not status(spool).losing
    count_refused(str(tmp_path), "Stop")
    assert status(spool).losing
    long_ago = time.time() - 100_000
    os.utime(spool / "refused", (long_ago, long_ago))
    found = status(spool)
    assert (found.refused, found.losing) == ({"Stop": 1}, False)


@pytest.mark.parametrize(("offset", "due"), [(-100, True), (-10, False), (10, False), (9999, True)])
def test_a_stamp_of_the_future_silences_nothing(tmp_path: Path, offset: int, due: bool) -> None:
    stamp = tmp_path / "stamp"
    stamp.touch()
    at = time.time() + offset
    os.utime(stamp, (at, at))
    assert append_module.is_due(str(stamp), 60) is due
    assert not append_module.is_due(str(stamp), 60)
