"""`claude-mem export`: everything, whole or not at all."""

from __future__ import annotations

import io
import itertools
import json
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from import_support import SAMPLE, Cli, transcript, worker

from claude_mem.cli import export
from claude_mem.cli.export import as_markdown
from claude_mem.cli.steering import STEERS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("person")
    with worker(folder) as home, pytest.MonkeyPatch.context() as patch:
        cli = Cli(home, patch)
        cli.told("import", SAMPLE)
        cli.told(
            "import", transcript(folder / "s.jsonl", 2, session="other", cwd="/home/dev/other")
        )
        yield home


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(home, monkeypatch)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_row_is_a_line(cli: Cli) -> None:
    cli.nothing_to_do()
    rows = lines(cli.run("export"))
    kinds: dict[str, int] = {}
    for row in rows:
        kinds[row["kind"]] = kinds.get(row["kind"], 0) + 1
    counts = cli.counts()
    assert kinds == {
        "session": counts["sessions"],
        "prompt": counts["prompts"],
        "observation": counts["observations"],
        "code_change": counts["code_changes"],
        "summary": counts["summaries"],
    } | ({"learning": counts["learnings"]} if counts["learnings"] else {})
    assert len({row["id"] for row in rows}) == len(rows)


def test_a_file_is_private_and_reported(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    report = cli.told("export", "--out", path)
    assert report["rows"] == len(lines(path.read_text()))
    assert report["bytes"] == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == ["all.jsonl"]


def test_one_project_alone(cli: Cli) -> None:
    rows = lines(cli.run("export", "--project", "other"))
    assert [row["kind"] for row in rows] == ["session", "prompt", "prompt", "prompt", "prompt"]
    assert {row.get("agent_session", "other") for row in rows} == {"other"}


def test_a_later_part_alone(cli: Cli) -> None:
    rows = lines(cli.run("export", "--since", "2026-10-22"))
    everything = lines(cli.run("export"))
    assert 0 < len(rows) < len(everything)


@pytest.mark.parametrize("name", ["md", "markdown"])
def test_markdown_reads_as_text(cli: Cli, tmp_path: Path, name: str) -> None:
    path = tmp_path / "all.md"
    assert cli.told("export", "--out", path, "--format", name)["format"] == "md"
    text = path.read_text()
    assert "Question 0 of other?" in text
    assert text.startswith("# ")


def test_markdown_tells_one_session_after_the_other(cli: Cli) -> None:
    text = cli.run("export", "--format", "md")
    found = re.findall(r"^\*session · \S+ · (\S+)\*$| · session (\S+)\*$", text, re.MULTILINE)
    of_each = [session for session, _ in itertools.groupby(own or its for own, its in found)]
    assert len(of_each) == len(set(of_each)) > 2
    exported = {row["id"] for row in lines(cli.run("export")) if row["kind"] == "session"}
    assert set(of_each) == exported


def test_an_export_is_not_taken_for_a_transcript(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    cli.told("export", "--out", path)
    refused = cli.told("import", path, code=2)
    assert refused["code"] == "IS_AN_EXPORT"
    assert "copy the data folder" in refused["next_step"]


def test_text_cannot_break_out_of_its_fence() -> None:
    row = {"kind": "observation", "id": "1", "title": "a\nb", "content": "x\n````\ny"}
    text = as_markdown(json.dumps(row).encode()).decode()
    assert text.startswith("## a b\n")
    assert "`````\nx\n````\ny\n`````" in text


class Screen(io.BytesIO):
    """A terminal's end of stdout."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize("format_", [export.Format.MD, export.Format.JSONL])
def test_recorded_text_steers_no_terminal_and_a_pipe_gets_every_byte(
    monkeypatch: pytest.MonkeyPatch, format_: export.Format
) -> None:
    steering = "a\x1b]52;c;cm0gLXJm\x07 \u202egpj.exe\r"
    row = {"kind": "prompt", "id": "1", "content": f"{steering}\tb\n一"}
    line = json.dumps(row, ensure_ascii=False).encode()
    written = {}
    for is_terminal in (True, False):
        screen = Screen() if is_terminal else io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="utf-8"))
        export._write(iter([line]), screen, format_)
        written[is_terminal] = screen.getvalue().decode()
    assert not STEERS.search(written[True])
    assert "一" in written[True]
    shape = as_markdown if format_ is export.Format.MD else export._as_line
    assert written[False] == shape(line).decode()
    assert STEERS.search(written[False])


def test_a_failing_export_leaves_nothing_behind(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("what was there")
    told = cli.told("export", "--out", path, "--since", "never", code=1)
    assert told["ok"] is False
    assert path.read_text() == "what was there"
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == ["all.jsonl"]
    missing = cli.told("export", "--out", tmp_path / "none" / "all.jsonl", code=1)
    assert "could not write" in missing["error"]


def test_json_needs_a_file(cli: Cli) -> None:
    assert cli.told("export", code=2)["ok"] is False
