"""`claude-mem dead-letters`, against a running worker that has some."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlean
from import_support import worker
from typer.testing import CliRunner

from claude_mem.cli.main import app
from claude_mem.kernel.scope import local_scope

IDS = [f"01890000-0000-7000-8000-00000000000{n}" for n in range(5)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with worker(tmp_path_factory.mktemp("home")) as folder:
        rows = [
            (local_scope().enterprise_id, it, "no moment", n, b"{}") for n, it in enumerate(IDS)
        ]
        with contextlib.closing(sqlean.connect(str(folder / "inbox.db"))) as raw, raw:
            raw.executemany("INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?)", rows)
        yield folder


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["dead-letters", *arguments], env={"COLUMNS": "60"})
    assert done.exit_code == 0, done.output
    return done.stdout


def run_json(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def test_a_list_goes_on_with_the_cursor_it_prints() -> None:
    text = run("list", "--limit", "2")
    cursor = text.split("--cursor ")[1].split()[0]
    assert all(it in text for it in IDS[3:])
    rest = run_json("list", "--cursor", cursor)
    assert [it["event_id"] for it in rest["letters"]] == IDS[2::-1]
    assert (rest["more"], rest["next_cursor"]) == (False, None)


def test_one_is_shown_and_given_up_and_all_the_others_handed_in_again() -> None:
    assert run_json("show", IDS[1])["reason"] == "no moment"
    assert run_json("drop", IDS[1], "--yes")["dropped"] == 1
    assert run_json("replay", "--all")["replayed"] == 4
