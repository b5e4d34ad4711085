"""`claude-mem pause` and `resume`: the file that the hook looks at."""

import json
import os
import stat
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from claude_mem.adapters.local.pauses import Pauses
from claude_mem.cli import pause as command
from claude_mem.hook.main import is_paused


def run(*arguments: str) -> Result:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, [*arguments])


def paused(home: Path, after: float = 0.0) -> bool:
    return is_paused(str(home), int((time.time() + after) * 1000))


@pytest.fixture
def home(private_home: Path) -> Path:
    return private_home / ".claude-mem"


def test_pause_holds_until_resume(home: Path) -> None:
    assert run("pause").exit_code == 0
    assert paused(home, after=10**8)
    assert stat.S_IMODE((home / "paused").stat().st_mode) == 0o600
    assert run("resume").output == "Recording again.\n"
    assert not paused(home)
    assert run("resume").output == "Recording was not paused.\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("1W", 604_800), (" 5 m ", 300)],
)
def test_pause_for_a_while(home: Path, text: str, seconds: int) -> None:
    done = run("pause", "--for", text, "--json")
    assert json.loads(done.stdout)["paused"] is True
    assert paused(home)
    assert paused(home, after=seconds - 60)
    assert not paused(home, after=seconds + 1)


@pytest.mark.parametrize("text", ["", "0m", "m", "5", "-5m", "5 years", "1.5h", "9999999d"])
def test_what_is_no_duration_is_refused(home: Path, text: str) -> None:
    done = run("pause", "--for", text, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["code"] == "USAGE"
    assert not paused(home)


def test_json_of_resume(home: Path) -> None:
    run("pause")
    assert json.loads(run("resume", "--json").stdout) == {
        "ok": True,
        "paused": False,
        "was_paused": True,
    }


def test_a_pause_is_remembered_when_it_is_over(home: Path) -> None:
    pauses = Pauses(home)
    assert not pauses.cover(int(time.time() * 1000))
    run("pause")
    begun = int((home / "paused").stat().st_mtime * 1000)
    assert pauses.cover(begun)
    assert pauses.cover(begun + 10**12)
    assert not pauses.cover(begun - 1000)
    run("resume")
    assert pauses.cover(begun + 1)
    assert not pauses.cover(int(time.time() * 1000) + 1000)
    assert stat.S_IMODE((home / "pauses.jsonl").stat().st_mode) == 0o600


def test_a_pause_begun_anew_keeps_its_start_and_one_that_ran_out_its_end(home: Path) -> None:
    home.mkdir()
    hour_ago = int(time.time()) - 3600
    (home / "paused").write_text(f"{(hour_ago + 60) * 1000}\n")
    os.utime(home / "paused", (hour_ago, hour_ago))
    pauses = Pauses(home)
    assert [pauses.cover((hour_ago + s) * 1000) for s in (-1, 0, 60, 61)] == [
        False,
        True,
        True,
        False,
    ]
    run("pause", "--for", "1h")
    assert [pauses.cover((hour_ago + s) * 1000) for s in (-1, 0, 60, 61)] == [
        False,
        True,
        True,
        False,
    ]
    assert pauses.cover(int(time.time() * 1000) + 1000)
    assert not pauses.cover(int(time.time() * 1000) + 3_700_000)


def test_a_torn_line_of_the_history_is_passed_over(home: Path) -> None:
    home.mkdir()
    (home / "pauses.jsonl").write_text("[100, 200]\n[300, 4")
    pauses = Pauses(home)
    assert pauses.cover(150)
    assert not pauses.cover(350)
    (home / "paused").touch()
    now = int((home / "paused").stat().st_mtime * 1000)
    run("resume")
    assert pauses.cover(now)
