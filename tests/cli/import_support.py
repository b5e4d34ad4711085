"""A data folder with the real worker, and small transcripts, for the tests of import and export."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from bench.ports import free_port
from typer.testing import CliRunner

from claude_mem.cli import context, export, import_, search
from claude_mem.sdk.local import connect
from claude_mem.worker.control import start, stop

SAMPLE = Path(__file__).parents[2] / "src/claude_mem/assets/sample/transcripts"


@contextmanager
def worker(folder: Path) -> Iterator[Path]:
    """A data folder whose worker runs while this lasts. Short: a socket's path has 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="cm-"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CLAUDE")]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("CLAUDE_CONFIG_DIR", str(folder / "claude"))
        patch.setenv("CLAUDE_MEM_HOME", str(home))
        patch.setenv("CLAUDE_MEM_PORT", str(free_port()))
        started = start(home, 30.0)
    assert started.problem is None, started.problem
    try:
        yield home
    finally:
        assert stop(home).ok
        shutil.rmtree(home)


class Cli:
    """Runs `import`, `export`, `search` and `context` against a data folder, in this process and without a terminal."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = home
        patch.setenv("CLAUDE_MEM_HOME", str(home))
        self._app = typer.Typer()
        for command in (import_, export, search, context):
            command.register(self._app)

    def run(self, *arguments: object, code: int = 0) -> str:
        """What the command printed on stdout."""
        done = CliRunner().invoke(self._app, [str(a) for a in arguments], env={"COLUMNS": "200"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout

    def told(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """The one JSON object that the command printed."""
        (line,) = self.run(*arguments, "--json", code=code).splitlines()
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def counts(self) -> dict[str, int]:
        """Rows by table, once everything is indexed."""
        with connect(self.home) as client:
            assert client.wait_until_indexed()
            counts: dict[str, int] = client.health(fresh=True)["counts"]
            return counts

    def nothing_to_do(self) -> None:
        """Take every job away, once none is at work: no summary comes later and changes what is there."""
        deadline = time.monotonic() + 60
        while not self._cleared():
            assert time.monotonic() < deadline, "a job does not end"
            time.sleep(0.05)

    def _cleared(self) -> bool:
        with closing(sqlite3.connect(self.home / "claude-mem.db", timeout=60)) as raw, raw:
            raw.execute("BEGIN IMMEDIATE")
            if raw.execute("SELECT 1 FROM task_queue WHERE status = 'running'").fetchone():
                return False
            raw.execute("DELETE FROM task_queue")
        return True

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The rows of a kind, as exported."""
        with connect(self.home) as client:
            rows = [json.loads(line) for line in client.export_lines()]
        return [row for row in rows if row["kind"] == kind]


def transcript(path: Path, turns: int, *, session: str, cwd: str, first: int = 0) -> Path:
    """A transcript of `turns` questions and answers, appended to when it is there; 2 rows a turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for number in range(first, first + turns):
            for row in _turn(number, session, cwd):
                file.write(json.dumps(row) + "\n")
    return path


def _turn(number: int, session: str, cwd: str) -> Iterator[dict[str, Any]]:
    hours, seconds = divmod(number * 2, 3600)
    minutes, seconds = divmod(seconds, 60)
    stamp = f"2026-10-01T{hours:02d}:{minutes:02d}:{seconds:02d}"
    common = {"sessionId": session, "cwd": cwd, "gitBranch": "main", "isSidechain": False}
    asked = {"role": "user", "content": f"Question {number} of {session}?"}
    yield common | {
        "type": "user",
        "uuid": f"{session}-u{number}",
        "promptId": f"{session}-p{number}",
        "timestamp": f"{stamp}.000Z",
        "message": asked,
    }
    said = {
        "id": f"msg_{session}_{number}",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [{"type": "text", "text": f"Answer {number} of {session}."}],
    }
    yield common | {
        "type": "assistant",
        "uuid": f"{session}-a{number}",
        "timestamp": f"{stamp}.500Z",
        "message": said,
    }
