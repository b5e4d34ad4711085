"""Recorded text on a person's terminal: nothing in it steers the terminal, whatever the command that shows it."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from import_support import Cli, transcript, worker
from rich.markup import escape
from rich.table import Table
from rich.text import Text

import claude_mem.cli
from claude_mem.cli import output, steering, terminal

CLIPBOARD = "\x1b]52;c;cm0gLXJm\x07"
REVERSED = "\u202egpj.exe"
STEERING = f"a{CLIPBOARD}b\x9b2Jc{REVERSED}\x08d\re\u2066f\u2028g\x00"
SHOWN = "a]52;c;cm0gLXJmb2Jcgpj.exedefg"
SOURCES = Path(claude_mem.cli.__file__).parent


@pytest.fixture
def shown() -> tuple[terminal.PlainConsole, io.StringIO]:
    """A terminal, with colours."""
    file = io.StringIO()
    out = terminal.PlainConsole(
        file=file, force_terminal=True, color_system="standard", width=200, highlight=False
    )
    return out, file


def test_text_is_shown_without_what_steers(
    shown: tuple[terminal.PlainConsole, io.StringIO],
) -> None:
    out, file = shown
    table = Table(STEERING)
    table.add_row(STEERING)
    for it in (escape(STEERING), Text(STEERING), table):
        out.print(it, style="bold", soft_wrap=not isinstance(it, Table))
    written = re.sub("\x1b\\[[0-9;]*m", "", file.getvalue())
    assert "\x1b[1m" in file.getvalue(), "our own colours stay"
    assert not steering.STEERS.search(written)
    assert written.count(SHOWN) == 2, "a table breaks lines where Python does"


def test_lines_and_tabs_and_every_script_stay(
    shown: tuple[terminal.PlainConsole, io.StringIO],
) -> None:
    out, file = shown
    out.print("一二\n👩‍💻 ❤️\nشكرا", markup=False)
    assert file.getvalue() == "一二\n👩‍💻 ❤️\nشكرا\n"


def test_json_is_whole_and_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"title": STEERING, "项目": "商店"}, lambda _: None, as_json=True)
    line = capsys.readouterr().out
    assert not steering.STEERS.search(line)
    assert json.loads(line) == {"title": STEERING, "项目": "商店"}
    assert "商店" in line


def test_every_command_prints_by_this_console() -> None:
    """A plain rich console anywhere would be the hole."""
    for source in SOURCES.glob("*.py"):
        names = {
            node.func.id
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "Console" not in names, source.name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("person")
    with worker(folder) as home, pytest.MonkeyPatch.context() as patch:
        path = transcript(folder / "s.jsonl", 2, session="one", cwd=f"/dev/sh{CLIPBOARD}op")
        lines = path.read_text(encoding="utf-8")
        planted = lines.replace("Question", f"Question {json.dumps(STEERING)[1:-1]}")
        path.write_text(planted, encoding="utf-8")
        Cli(home, patch).told("import", path)
        yield home


@pytest.mark.slow
@pytest.mark.parametrize("words", ["search Question", "search Question --json"])
def test_what_was_recorded_is_shown_by_no_command(
    home: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    found = Cli(home, monkeypatch).run(*words.split())
    assert not steering.STEERS.search(found)
    assert "Question" in found
    if "--json" in words:
        assert "\x1b" in json.dumps(json.loads(found), ensure_ascii=False) or "\\u001b" in found


@pytest.mark.slow
def test_what_is_refused_is_shown_without_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Cli(home, monkeypatch).run("context", "--project", "x\x1b]0;y\x07", code=1)
    assert not steering.STEERS.search(found)
