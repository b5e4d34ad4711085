"""`claude-mem logs`: readable on a terminal, JSON lines in a pipe, following until Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from claude_mem.cli import logs, status

PROGRAM = """
import typer
from claude_mem.cli import logs
app = typer.Typer()
app.callback()(lambda: None)
logs.register(app)
app()
"""


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    logs.register(made)
    status.register(made)  # with a single command typer would take its name off
    return made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    return tmp_path


def write(home: Path, name: str, *entries: tuple[int, str, str]) -> None:
    with (home / "logs" / f"{name}.jsonl").open("a") as file:
        for second, level, message in entries:
            stamp = f"2026-11-20T10:00:{second:02d}.000000Z"
            fields = {"timestamp": stamp, "level": level, "message": message, "extra": second}
            file.write(json.dumps(fields) + "\n")


def test_in_a_pipe_the_lines_are_as_they_stand(app: typer.Typer, home: Path) -> None:
    write(home, "worker", (1, "info", "one"), (3, "error", "three"))
    write(home, "supervisor", (2, "warning", "two"))
    found = CliRunner().invoke(app, ["logs"])
    assert found.exit_code == 0
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["message"] for line in lines] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-n", "1"], ["three"]),
        (["--level", "warning"], ["two", "three"]),
        (["--source", "worker"], ["one", "three"]),
        (["--source", "supervisor", "--json"], ["two"]),
        (["-n", "0"], []),
    ],
)
def test_choices(app: typer.Typer, home: Path, options: list[str], expected: list[str]) -> None:
    write(home, "worker", (1, "info", "one"), (3, "error", "three"))
    write(home, "supervisor", (2, "warning", "two"))
    found = CliRunner().invoke(app, ["logs", *options])
    assert [json.loads(line)["message"] for line in found.stdout.splitlines()] == expected


def test_without_logs_the_next_step_is_said(app: typer.Typer, home: Path) -> None:
    found = CliRunner().invoke(app, ["logs"])
    assert found.exit_code == 1
    assert "claude-mem start" in found.output


@pytest.mark.parametrize("options", [["--level", "loud"], ["-n", "-1"], ["--source", "moon"]])
def test_wrong_usage(app: typer.Typer, home: Path, options: list[str]) -> None:
    assert CliRunner().invoke(app, ["logs", *options]).exit_code == 2


def read_until(descriptor: int, wanted: str) -> str:
    """What a terminal showed, up to and with `wanted`."""
    shown = b""
    while wanted.encode() not in shown:
        shown += os.read(descriptor, 4096)  # ends with an OSError when the program ends first
    return shown.decode()


def test_on_a_terminal_lines_are_readable_and_followed(home: Path) -> None:
    write(home, "worker", (1, "error", "what went wrong [not markup]"))
    (home / "logs" / "worker.jsonl").open("a").write("a line cut sho\n")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "logs", "-f"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        # A suite that runs in the background has the signal ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        shown = read_until(ours, "a line cut sho")
        assert "what went wrong [not markup]" in shown
        assert "2026-11-20 10:00:01.000" in shown
        assert "extra=1" in shown
        assert "{" not in shown
        assert "\x1b[" in shown
        write(home, "worker", (2, "info", "and then this"))
        read_until(ours, "and then this")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


def test_a_closed_pipe_ends_following(home: Path) -> None:
    write(home, "worker", (1, "info", "one"))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "logs", "-f"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert b"one" in process.stdout.readline()
    process.stdout.close()
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        write(home, "worker", (2, "info", "nobody reads this"))
        time.sleep(0.05)
    assert process.poll() is not None
