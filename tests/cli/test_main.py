"""The entry point: what is wrong with the arguments or the data folder, and how it is told."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from claude_mem.cli.main import main
from claude_mem.worker import control


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


Capture = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def told(capsys: Capture) -> dict[str, Any]:
    """The one JSON object on stdout; nothing else was printed anywhere."""
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    found = json.loads(line)
    assert set(found) == {"ok", "error", "code", "next_step"}
    assert found["ok"] is False
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("arguments", "said", "step"),
    [
        (["search"], "Missing argument", "claude-mem search --help"),
        (["search", "x", "--limit", "-1"], "--limit", "claude-mem search --help"),
        (["logs", "--level", "loud"], "'loud' is not one of", "claude-mem logs --help"),
        (["nope"], "No such command 'nope'", "claude-mem --help"),
        (["stop", "--nope"], "No such option: --nope", "claude-mem stop --help"),
        ([], "--json", "claude-mem --help"),
    ],
)
def test_wrong_usage_is_told_as_json(
    home: Path, capsys: Capture, arguments: list[str], said: str, step: str
) -> None:
    assert run(*arguments, "--json") == 2
    found = told(capsys)
    assert said in found["error"]
    assert "Value error" not in found["error"]
    assert (found["code"], found["next_step"]) == ("USAGE", step)
    assert not home.exists()


def test_wrong_usage_without_json_is_told_to_a_person(home: Path, capsys: Capture) -> None:
    assert run("stop", "--nope") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "No such option" in err


def test_json_after_the_end_of_options_is_a_word(home: Path, capsys: Capture) -> None:
    assert run("nope", "--", "--json") == 2
    assert capsys.readouterr().out == ""


def test_a_command_that_went_well_ends_with_0(home: Path, capsys: Capture) -> None:
    home.mkdir()
    assert run("stop", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "not_running"
    assert run("stop") == 0
    assert run("--version") == 0


def test_a_refusal_of_a_command_keeps_its_exit_code(home: Path, capsys: Capture) -> None:
    assert run("pause", "--for", "soon", "--json") == 2
    assert told(capsys)["code"] == "USAGE"
    assert run("logs", "--json") == 1
    assert told(capsys)["code"] == "NO_LOGS"


@pytest.mark.parametrize("arguments", [["search", "x"], ["start"], ["export"], ["restart"]])
def test_nothing_is_made_beside_another_programs_database(
    home: Path, capsys: Capture, arguments: list[str]
) -> None:
    home.mkdir()
    database = home / "claude-mem.db"
    with contextlib.closing(sqlite3.connect(database)) as raw:
        raw.execute("CREATE TABLE theirs (x)")
        raw.commit()
    before = database.read_bytes()
    out = ["--out", str(home.parent / "out")] if arguments == ["export"] else []
    assert run(*arguments, *out, "--json") == 1
    found = told(capsys)
    assert found["code"] == "FOREIGN_DATABASE"
    assert "claude-mem install" in found["next_step"]
    assert [it.name for it in home.iterdir()] == ["claude-mem.db"]
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [["search", "x"], ["start"], ["db", "check"], ["db", "recover", "--yes"], ["db", "rebuild"]],
)
def test_a_folder_in_the_databases_place_is_told(
    home: Path, capsys: Capture, arguments: list[str]
) -> None:
    (home / "claude-mem.db").mkdir(parents=True)
    assert run(*arguments, "--json") == 1
    found = told(capsys)
    assert found["code"] == "FOREIGN_DATABASE"
    assert "claude-mem.db" in found["error"]
    assert [it.name for it in home.iterdir() if it.suffix != ".lock"] == ["claude-mem.db"]


def test_any_other_folder_in_a_files_place_is_told(home: Path, capsys: Capture) -> None:
    (home / "config.toml").mkdir(parents=True)
    assert run("start", "--json") == 1
    assert "config.toml" in told(capsys)["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["search", "\udcff"], ["context", "\udcff\udcfe"], ["export", "--project", "\udcff"]],
)
def test_an_argument_that_is_no_text_is_told(
    monkeypatch: pytest.MonkeyPatch, home: Path, capsys: Capture, arguments: list[str]
) -> None:
    del home  # the person's own is out of reach
    with tempfile.TemporaryDirectory(prefix="cm-") as short, socket.create_server(("", 0)) as taken:
        monkeypatch.setenv("CLAUDE_MEM_HOME", short)
        monkeypatch.setenv("CLAUDE_MEM_PORT", str(taken.getsockname()[1]))
        out = ["--out", f"{short}/out"] if arguments[0] == "export" else []
        try:
            assert run(*arguments, *out, "--json") == 2
        finally:
            assert control.stop(Path(short)).ok
    found = told(capsys)
    assert found["code"] == "USAGE"
    assert "\\udcff" in found["error"]


# The first run loads what is imported on the way: another user may not read our interpreter.
AS_SOMEBODY_ELSE = """
import contextlib, io, os, sys
from claude_mem.cli.main import main
home, os.environ["CLAUDE_MEM_HOME"] = os.environ["CLAUDE_MEM_HOME"], sys.argv[1]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(sys.argv[2:])
os.environ["CLAUDE_MEM_HOME"] = home
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
main(sys.argv[2:])
"""


@pytest.mark.parametrize("command", [["search", "x"], ["start"], ["stop"], ["logs"]])
def test_another_users_data_folder_is_told(home: Path, command: list[str]) -> None:
    home.mkdir()
    home.chmod(0)
    foreign = home.parent / "foreign"  # where no command starts a worker
    foreign.mkdir()
    (foreign / "claude-mem.db").write_bytes(b"theirs")
    argv = [sys.executable, "-c", AS_SOMEBODY_ELSE, str(foreign), *command, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    home.chmod(0o700)
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found["code"] in ("NOT_PERMITTED", "NO_DATA_FOLDER")
    assert str(home) in found["error"]
    assert "CLAUDE_MEM_HOME" in found["next_step"]
    assert list(home.iterdir()) == []
