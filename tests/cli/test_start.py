"""`claude-mem start`, `status`, `restart`, `logs`, `stop` with the real worker."""

import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from bench.ports import free_port
from click.testing import Result
from typer.testing import CliRunner

from claude_mem import __version__
from claude_mem.cli import logs, start, status
from claude_mem.worker.control import Started, stop
from claude_mem.worker.diagnosis import Problem

pytestmark = pytest.mark.slow

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder whose worker ends with the test. Short: a socket's path has 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="cm-"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    yield home
    assert stop(home).ok
    shutil.rmtree(home)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    port = free_port()
    monkeypatch.setenv("CLAUDE_MEM_PORT", str(port))
    return port


@pytest.fixture
def run(home: Path) -> Run:
    app = typer.Typer()
    for command in (start, status, logs):
        command.register(app)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})

    return invoke


def told(run: Run, *arguments: str) -> dict[str, Any]:
    """The one JSON object that the command printed."""
    lines = run(*arguments, "--json").stdout.splitlines()
    assert len(lines) == 1
    found = json.loads(lines[0])
    assert isinstance(found, dict)
    return found


def test_what_a_failed_worker_said_is_shown_in_words_and_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "port 1 is taken"
    lines = (
        json.dumps({"level": "error", "message": said, "code": "PORT_TAKEN"}),
        json.dumps({"level": "warning", "message": "the disk is slow"}),
        "Traceback (most recent call last):",
    )
    failed = Started("failed", problem=Problem("port_conflict", f"{said} by a", "end it", lines))
    with pytest.raises(typer.Exit):
        start.show_started(failed, as_json=False)
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        "the disk is slow",
        "Traceback (most recent call last):",
        f"Error: {said} by a",
        "Next:  end it",
    ]


def test_a_workers_day(run: Run, home: Path, port: int) -> None:
    started = told(run, "start", "--timeout", "60")
    assert (started["ok"], started["state"], started["port"]) == (True, "started", port)
    assert started["version"] == __version__
    assert "Runs already" in run("start").stdout
    found = told(run, "status")
    assert (found["ok"], found["state"], found["inbox_pending"]) == (True, "running", 0)
    assert (found["worker"]["pid"], found["worker"]["port"]) == (started["pid"], port)
    assert found["worker"]["rss_bytes"] > 10_000_000
    assert found["database"]["bytes"] > 0
    shown = run("status").stdout
    assert f"process {started['pid']}, version {__version__}" in shown
    assert f"http://127.0.0.1:{port}" in shown
    messages = [
        json.loads(line)["message"] for line in run("logs", "-n", "500").stdout.splitlines()
    ]
    assert {"Supervising", "Worker started"} <= set(messages)
    again = told(run, "restart", "--timeout", "60")
    assert again["state"] == "started"
    assert again["pid"] != started["pid"]
    assert told(run, "stop") == {"ok": True, "state": "stopped", "inbox_pending": 0}
    assert "not running" in run("stop").stdout


def test_a_start_leaves_what_the_plugin_needs(run: Run, home: Path, port: int) -> None:
    """Its hooks run the data folder's own, which starts a worker that is gone."""
    assert told(run, "start", "--timeout", "60")["ok"] is True
    plan = home / "hook" / "launch.json"
    assert "claude_mem.worker.supervisor" in json.loads(plan.read_text())["argv"]
    assert (home / "hook" / "hook.py").is_file()
    plan.write_text(json.dumps({"argv": ["/an/environment/that/is/gone"]}))
    assert told(run, "start")["state"] == "already_running"
    assert Path(json.loads(plan.read_text())["argv"][0]).exists()
    written = plan.stat().st_mtime_ns
    assert told(run, "start")["state"] == "already_running"
    assert plan.stat().st_mtime_ns == written


def test_a_port_conflict_has_a_name_and_a_way_out(
    run: Run, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MEM_STRICT_PORT", "1")
    with socket.create_server(("127.0.0.1", port)):
        found = run("start")
        assert found.exit_code == 1
        assert f"port {port} is taken by process" in found.output
        assert "CLAUDE_MEM_PORT" in found.output
        assert told(run, "start")["code"] == "PORT_CONFLICT"
        failed = told(run, "status")
        assert (failed["state"], failed["problem"]["code"]) == ("failed", "port_conflict")
    assert told(run, "start", "--timeout", "60")["ok"] is True
