"""`claude-mem import` with the real worker: everything arrives, once, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlean
from import_support import SAMPLE, Cli, transcript, worker

from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.sdk.local import connect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with worker(tmp_path_factory.mktemp("person")) as home:
        yield home


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(home, monkeypatch)


def test_the_sample_is_taken_in_once(cli: Cli) -> None:
    first = cli.told("import", SAMPLE)
    assert first["ok"]
    assert first["indexed"]
    assert first["new"] == first["events"] == sum(first["by_type"].values())
    assert first["known"] == 0
    assert first["refused"] == {}
    assert first["unreadable"] == {}
    assert first["sessions"] >= 12
    assert first["skipped"]["attachment line"] > 0
    cli.nothing_to_do()
    counts = cli.counts()
    assert counts["sessions"] == first["sessions"]
    assert counts["code_changes"] > 20
    assert counts["summaries"] >= first["by_type"]["context.compacted"], "ours are made later"

    second = cli.told("import", SAMPLE)
    assert (second["events"], second["unchanged"]) == (0, second["files"])
    (cli.home / "imports.json").unlink()
    third = cli.told("import", SAMPLE)
    assert (third["new"], third["known"]) == (0, first["new"])
    assert not any(third["added"].values())
    assert cli.counts() == counts

    with connect(cli.home) as client:
        assert client.search("booking")["results"]


def test_a_grown_transcript_gives_what_is_new(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "p" / "s.jsonl"
    transcript(path, 3, session="grown", cwd="/home/dev/grown")
    assert cli.told("import", tmp_path)["new"] == 7
    transcript(path, 2, session="grown", cwd="/home/dev/grown", first=3)
    again = cli.told("import", tmp_path)
    assert again["to_summarise"] == 1
    shown = cli.run("import", transcript(tmp_path / "q" / "s.jsonl", 1, session="q", cwd="/home/q"))
    assert "follow in the background (1 session)" in shown
    assert "learnings," not in shown.partition("Added:")[2].partition("follow")[0]
    assert cli.told("import", tmp_path / "q")["to_summarise"] == 0
    assert again["new"] == 4
    assert again["known"] == 2, "the last turn was read once more"


def test_what_was_captured_live_is_not_taken_in_again(cli: Cli, tmp_path: Path) -> None:
    path = transcript(tmp_path / "s.jsonl", 1, session="live-1", cwd="/home/dev/live")
    common = {"prompt_id": "live-1-p0", "origin": "live"}
    base = {"agent": "claude-code", "session": "live-1", "project": "/home/dev/live"}
    asked = {"content": "Question 0 of live-1?"} | common
    said = {"content": "Answer 0 of live-1.", "final": True} | common
    events = [
        base | {"id": new_id(), "type": kind, "occurred_at": to_iso(now_ms()), "data": data}
        for kind, data in (("prompt.submitted", asked), ("assistant.replied", said))
    ]
    with connect(cli.home) as client:
        client.post_events(events)
        assert client.wait_until_indexed()
    cli.nothing_to_do()
    before = cli.counts()
    report = cli.told("import", path)
    assert report["new"] == 3, "as events they are new"
    assert not any(report["added"].values())
    assert cli.counts() == before


def test_a_killed_import_goes_on(cli: Cli, tmp_path: Path) -> None:
    for number in range(12):
        name = f"killed-{number}"
        transcript(tmp_path / f"{name}.jsonl", 250, session=name, cwd="/home/dev/killed")
    before = cli.counts()["prompts"]
    state = cli.home / "imports.json"
    known = state.read_bytes() if state.exists() else b""
    command = [sys.executable, "-m", "claude_mem", "import", str(tmp_path), "--no-wait", "--json"]
    running = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not state.exists() or state.read_bytes() == known:
        assert running.poll() is None, "killed in the middle, not after the end"
        assert time.monotonic() < deadline
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    kept = json.loads(state.read_bytes())["files"]
    started = [path for path in kept if "killed-" in path]
    assert 0 < len(started) <= 12
    report = cli.told("import", tmp_path)
    assert report["events"] < 12 * 501, "what was acknowledged is not read again"
    assert cli.counts()["prompts"] - before == 12 * 250 * 2
    last = cli.told("import", tmp_path)
    assert (last["unchanged"], last["events"]) == (12, 0)


def test_filters_leave_out_for_now_only(cli: Cli, tmp_path: Path) -> None:
    transcript(tmp_path / "a.jsonl", 2, session="fa", cwd="/home/dev/apples")
    transcript(tmp_path / "b.jsonl", 4, session="fb", cwd="/home/dev/pears")
    only = cli.told("import", tmp_path, "--project", "apples")
    assert (only["new"], only["files_left_out"]) == (5, 1)
    late = cli.told("import", tmp_path, "--since", "2026-10-01T00:00:04Z")
    assert (late["new"], late["left_out"]) == (4, 5)
    rest = cli.told("import", tmp_path)
    assert (rest["new"], rest["known"]) == (5, 4)


def test_projects_that_opted_out_stay_out(cli: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / ".claude-mem-off").touch()
    transcript(tmp_path / "t" / "a.jsonl", 2, session="oa", cwd=str(secret))
    path = transcript(tmp_path / "t" / "b.jsonl", 1, session="ob", cwd="/home/dev/open")
    transcript(path, 1, session="ob", cwd=str(secret), first=1)
    report = cli.told("import", tmp_path / "t")
    assert (report["opted_out"], report["new"], report["left_out"]) == (1, 3, 2)
    (secret / ".claude-mem-off").unlink()


def test_a_dry_run_sends_nothing_and_remembers_nothing(cli: Cli, tmp_path: Path) -> None:
    transcript(tmp_path / "s.jsonl", 2, session="dry", cwd="/home/dev/dry")
    report = cli.told("import", tmp_path, "--dry-run")
    assert (report["dry_run"], report["events"], report["new"]) == (True, 5, 0)
    assert cli.told("import", tmp_path)["new"] == 5


def test_a_paused_memory_takes_nothing_and_says_so(cli: Cli, tmp_path: Path) -> None:
    transcript(tmp_path / "s.jsonl", 2, session="paused", cwd="/home/dev/paused")
    (cli.home / "paused").touch()
    try:
        deadline = time.monotonic() + 30
        with connect(cli.home) as client:
            while not client.health()["paused"]:
                assert time.monotonic() < deadline
        told = cli.told("import", tmp_path, code=1)
        assert told["code"] == "PAUSED"
    finally:
        (cli.home / "paused").unlink()
    with connect(cli.home) as client:
        while client.health()["paused"]:
            assert time.monotonic() < deadline
    assert cli.told("import", tmp_path)["new"] == 5


def test_a_file_that_cannot_be_read_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript(tmp_path / "a.jsonl", 1, session="ua", cwd="/home/dev/u")
    broken = transcript(tmp_path / "b.jsonl", 1, session="ub", cwd="/home/dev/u")
    from claude_mem.cli import import_run

    original = import_run.is_read

    def vanish(path: Path, position: object) -> bool:
        if path == broken:
            path.unlink()
        return original(path, position)  # type: ignore[arg-type]

    monkeypatch.setattr(import_run, "is_read", vanish)
    report = cli.told("import", tmp_path)
    assert report["new"] == 3
    assert report["unreadable"] == {str(broken): "No such file or directory"}


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["/does/not/exist"], "NOT_FOUND", 2),
        (["--upstream", "/does/not/exist.db"], "NOT_FOUND", 2),
        ([], "NO_TRANSCRIPTS", 1),
        ([str(SAMPLE), "--since", "never"], "USAGE", 2),
    ],
)
def test_wrong_use_is_explained(cli: Cli, arguments: list[str], code: str, exit_code: int) -> None:
    told = cli.told("import", *arguments, code=exit_code)
    assert told["code"] == code
    assert told["next_step"]


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_database_named_as_a_transcript_is_explained(
    cli: Cli, tmp_path: Path, more: list[str]
) -> None:
    path = tmp_path / "claude-mem.db"
    raw = sqlean.connect(str(path))
    raw.executescript(UPSTREAM)
    raw.close()
    told = cli.told("import", path, *more, code=2)
    assert told["code"] == "IS_A_DATABASE"
    assert told["next_step"] == f"claude-mem import --upstream {path}"


@pytest.mark.parametrize("option", [[], ["--upstream"]])
def test_a_pipe_is_refused(cli: Cli, tmp_path: Path, option: list[str]) -> None:
    path = tmp_path / "s.jsonl"
    os.mkfifo(path)
    assert cli.told("import", *option, path, code=2)["code"] == "NOT_A_FILE"


def test_ones_own_transcripts_need_a_yes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    transcript(tmp_path / "projects" / "s.jsonl", 1, session="own", cwd="/home/dev/own")
    assert cli.told("import", code=2)["code"] == "CONSENT_NEEDED"
    assert cli.told("import", "--yes")["new"] == 3


def test_a_person_sees_a_summary(cli: Cli, tmp_path: Path) -> None:
    path = transcript(tmp_path / "s.jsonl", 2, session="seen", cwd="/home/dev/seen")
    with path.open("a") as file:
        file.write('{"type": "attachment"}\nnot json\n')
    shown = cli.run("import", tmp_path)
    assert "Took in 5 events of 1 sessions from 1 of 1 files" in shown
    assert "5 were new, 0 were there already." in shown
    assert "2  prompt.submitted" in shown
    assert "1  not JSON" in shown
    assert "1  attachment line" in shown


UPSTREAM = """
CREATE TABLE sdk_sessions (id INTEGER PRIMARY KEY, content_session_id TEXT, memory_session_id TEXT,
  project TEXT, started_at_epoch INTEGER);
CREATE TABLE observations (id INTEGER PRIMARY KEY, memory_session_id TEXT, project TEXT, type TEXT,
  title TEXT, narrative TEXT, created_at_epoch INTEGER);
CREATE TABLE user_prompts (id INTEGER PRIMARY KEY, content_session_id TEXT, prompt_number INTEGER,
  prompt_text TEXT, created_at_epoch INTEGER);
INSERT INTO sdk_sessions VALUES (1, 'up-1', 'm1', 'ledger', 1766000000000),
  (2, 'up-2', 'm2', 'ledger', 1766000000000);
INSERT INTO observations VALUES (1, 'm1', 'ledger', 'bugfix', 'Zweistellig', 'Cents', 1766000001000);
INSERT INTO user_prompts VALUES (1, 'up-1', 1, 'Round the totals', 1766000000500),
  (2, 'up-2', 1, 'Question 0 of up-2?', 1766000000500);
"""


def test_the_other_programs_memory_is_taken_in_once(cli: Cli, tmp_path: Path) -> None:
    transcript(tmp_path / "t" / "s.jsonl", 1, session="up-2", cwd="/home/dev/ledger")
    cli.told("import", tmp_path / "t")
    path = tmp_path / "claude-mem.db"
    raw = sqlean.connect(str(path))
    raw.executescript(UPSTREAM)
    raw.close()
    original = path.read_bytes()
    first = cli.told("import", "--upstream", path)
    assert first["by_type"] == {
        "session.started": 2,
        "prompt.submitted": 1,
        "observation.added": 1,
    }
    assert first["skipped"] == {"prompt of a session that is here already": 1}
    assert first["added"]["observations"] == 1
    assert cli.told("import", "--upstream", path)["events"] == 0
    (cli.home / "imports.json").unlink()
    third = cli.told("import", "--upstream", path)
    assert third["new"] == 0
    assert path.read_bytes() == original
    found = [row for row in cli.rows("observation") if row["title"] == "Zweistellig"]
    assert len(found) == 1


def test_a_database_of_another_kind_is_refused(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "songs.db"
    path.write_text("la la la")
    told = cli.told("import", "--upstream", path, code=1)
    assert "no SQLite database" in told["error"]
