"""What a hook costs the agent, beside the interpreter that it cannot do without.

    python -m bench.hook [--runs N] [--json] [--out FILE]

Every round starts, one after the other: the bare interpreter, the installed hook with the real
worker behind its door, and the hook alone (masking and spooling), each with a payload of 1 KB and of
30 KB; and it times one fsync of as many bytes. Medians of interleaved rounds, so that a machine that
slows down slows all of them. The worker stores what is sent to it: nothing here is a stand-in.

Then a few times what a session waits for at its start when no worker runs: the hook that starts the real one and asks
it (`cold_start_s`), and the hook of a worker that cannot be started, which gives the last rendered context.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claude_mem.hook.bundle import write_hook
from claude_mem.hook.installation import prepare_home
from claude_mem.hook.interpreter import choose
from claude_mem.hook.recall import RENDERED, RENDERED_FORMAT
from claude_mem.hook.settings_file import handler
from claude_mem.worker import control
from claude_mem.worker.launch import supervisor_argv

FORWARD_TARGET = 1.5  # x the bare interpreter
SPOOL_TARGET = 4.0  # x the bare interpreter, after one fsync
COLD_TARGET_S = 2.0  # the longest that a session may wait at its start
_COLD_RUNS = 9
_SIZES = {"1kb": 1_000, "30kb": 30_000}


def payload(size: int) -> bytes:
    """A tool call of about `size` bytes: a file of this project as the agent reads it."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(_sources()))
    body: dict[str, Any] = {
        "session_id": "bench",
        "transcript_path": "/home/dev/.claude/projects/-home-dev-ledger/bench.jsonl",
        "cwd": "/home/dev/ledger",
        "hook_event_name": "PostToolUse",
        "tool_name": "Read",
        "tool_input": {"file_path": "/home/dev/ledger/total.py"},
        "tool_response": {"type": "text", "file": {"content": ""}},
    }
    room = size - len(json.dumps(body))
    while len(json.dumps(text[:room])) > size - len(json.dumps(body)) + 2:
        room -= 16
    body["tool_response"]["file"]["content"] = text[:room]
    return json.dumps(body).encode()


def _sources() -> list[Path]:
    return list((Path(__file__).parent.parent / "src" / "claude_mem" / "hook").glob("*.py"))


def timed_run(command: list[str], body: bytes | None, silent: bool = True) -> float:
    """Seconds from starting a process to its end, with `body` on its stdin."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if body is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
    )
    said = process.communicate(body)
    taken = time.perf_counter() - begin
    if process.returncode != 0 or said[1] or (silent and said[0]):
        raise SystemExit(f"{command[-1]} failed: {process.returncode} {said!r}")
    return taken


def timed_fsync(folder: Path, size: int) -> float:
    """Seconds for one fsync after appending `size` bytes."""
    with (folder / "fsync").open("ab") as file:
        file.write(b"x" * size)
        file.flush()
        begin = time.perf_counter()
        os.fsync(file.fileno())
        return time.perf_counter() - begin


@contextmanager
def running_worker(home: Path) -> Iterator[None]:
    """The real worker on a private data folder; stopped, after it drained, at the end."""
    started = control.start(home, timeout=30)
    if started.problem is not None:
        raise SystemExit(f"the worker did not start: {started.problem.message}")
    try:
        yield
    finally:
        control.stop(home)


def measure(runs: int) -> dict[str, Any]:
    """Medians in milliseconds, and the ratios that the targets are about."""
    python = choose().path
    folder = Path(tempfile.mkdtemp(prefix="cmb"))
    os.environ.update(HOME=str(folder), CLAUDE_MEM_HOME=str(folder / "up"))
    up, down = folder / "up", folder / "down"
    try:
        for home in (up, down):
            home.mkdir(mode=0o700)
            write_hook(home)
        with running_worker(up):
            times = _rounds(python, up, down, runs)
            if (up / "spool").exists():
                raise SystemExit("the worker did not take every event: the figures mean nothing")
        times |= _session_starts(python, folder)
    finally:
        shutil.rmtree(folder)
    return _summary(times, python, runs)


def _session_starts(python: str, folder: Path) -> dict[str, list[float]]:
    """Seconds of SessionStart hooks that find no worker: one to start, or only the last context."""
    start = json.loads(payload(1_000)) | {"hook_event_name": "SessionStart", "source": "startup"}
    body = json.dumps(start).encode()
    cold, alone = folder / "cold", folder / "alone"
    prepare_home(cold, supervisor_argv(cold))
    prepare_home(alone, ["/nowhere/python"])
    (alone / RENDERED).mkdir(mode=0o700)
    rendered = {"v": RENDERED_FORMAT, "place": start["cwd"], "text": "word " * 1_500, "units": []}
    name = hashlib.sha256(start["cwd"].encode()).hexdigest()[:32]
    (alone / RENDERED / f"{name}.json").write_text(json.dumps(rendered))
    (alone / RENDERED / f"{name}.json").chmod(0o600)
    times: dict[str, list[float]] = {"cold_start": [], "last_context": []}
    (alone / "spool").mkdir()
    for _ in range(_COLD_RUNS):
        (alone / "spool" / ".noted").touch()  # that it cannot be started has been said
        for kind, home in (("cold_start", cold), ("last_context", alone)):
            one = handler(python, str(home / "hook" / "hook.py"), "SessionStart")
            times[kind].append(timed_run([one["command"], *one["args"]], body, silent=False))
        control.stop(cold)
    return times


def _rounds(python: str, up: Path, down: Path, runs: int) -> dict[str, list[float]]:
    bare = [python, "-I", "-S", "-c", "pass"]
    steps: dict[str, Callable[[], float]] = {"bare": lambda: timed_run(bare, None)}
    for name, size in _SIZES.items():
        body = payload(size)
        for kind, home in (("forward", up), ("spool", down)):
            one = handler(python, str(home / "hook" / "hook.py"), "PostToolUse")
            command = [one["command"], *one["args"]]
            steps[f"{kind}_{name}"] = lambda c=command, b=body: timed_run(c, b)  # type: ignore[misc]
        steps[f"fsync_{name}"] = lambda n=size: timed_fsync(down, n)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(-3, runs):  # three rounds to warm the caches
        for name, step in steps.items():
            taken = step()
            if number >= 0:
                times[name].append(taken)
        if number % 50 == 0:
            (down / "spool" / "active.jsonl").unlink(missing_ok=True)
    return times


def _summary(times: dict[str, list[float]], python: str, runs: int) -> dict[str, Any]:
    median = {name: statistics.median(row) * 1000 for name, row in times.items()}
    ratios = {}
    for size in _SIZES:
        ratios[f"forward_{size}"] = median[f"forward_{size}"] / median["bare"]
        spool = median[f"spool_{size}"] - median[f"fsync_{size}"]
        ratios[f"spool_{size}_less_fsync"] = spool / median["bare"]
    return {
        "bench": "hook",
        "runs": runs,
        "receiver": "the real worker",
        "interpreter": subprocess.run(
            [python, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "median_ms": {name: round(value, 3) for name, value in median.items()},
        "p95_ms": {
            name: round(statistics.quantiles(row, n=20)[18] * 1000, 3)
            for name, row in times.items()
        },
        "ratio_to_bare": {name: round(value, 3) for name, value in ratios.items()},
        "targets": {
            "forward": FORWARD_TARGET,
            "spool_less_fsync": SPOOL_TARGET,
            "cold_start_s": COLD_TARGET_S,
        },
        "met": median["cold_start"] <= COLD_TARGET_S * 1000
        and all(
            value <= (FORWARD_TARGET if name.startswith("forward") else SPOOL_TARGET)
            for name, value in ratios.items()
        ),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--out", type=Path, default=Path("bench/results/hook.json"))
    chosen = parser.parse_args()
    found = measure(chosen.runs)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if chosen.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    print(f"hook, median of {found['runs']} rounds, against {found['receiver']}")
    for name, value in found["median_ms"].items():
        print(f"  {name:14} {value:8.2f} ms   p95 {found['p95_ms'][name]:8.2f} ms")
    for name, value in found["ratio_to_bare"].items():
        print(f"  {name:24} {value:5.2f} x the bare interpreter")
    print(f"  targets {found['targets']}: {'met' if found['met'] else 'MISSED'}")


if __name__ == "__main__":
    main()
