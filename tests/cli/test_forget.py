"""`claude-mem forget`: what it refuses before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from claude_mem.cli import forget
from claude_mem.cli.forget import What
from claude_mem.cli.main import app
from claude_mem.domains.capture.endpoints import ForgetBody


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_it_offers_what_the_api_can_forget() -> None:
    assert {str(what) for what in What} == set(get_args(ForgetBody.model_fields["what"].annotation))


@pytest.mark.parametrize("words", [["last"], ["session", "s1"], ["code_change", "c1"]])
def test_json_needs_a_yes(words: list[str], home: Path) -> None:
    answer = CliRunner().invoke(app, ["forget", *words, "--json"])
    assert answer.exit_code == 2
    told = json.loads(answer.stdout)
    assert (told["ok"], told["code"]) == (False, "USAGE")
    assert told["next_step"] == f"claude-mem forget {' '.join(words)} --json --yes"
    assert not home.exists(), "it starts and touches nothing"


def test_a_kind_needs_an_id() -> None:
    answer = CliRunner().invoke(app, ["forget", "summary", "--json", "--yes"])
    assert answer.exit_code == 2
    assert json.loads(answer.stdout)["next_step"] == "claude-mem forget summary ID"


def test_a_person_who_says_no_loses_nothing(home: Path) -> None:
    answer = CliRunner().invoke(app, ["forget", "last"], input="n\n")
    assert answer.exit_code == 1
    assert not home.exists()


def test_what_went_is_counted_in_words() -> None:
    said = [forget._counted(*it) for it in (("prompt", 2), ("summary", 2), ("code_change", 1))]
    assert said == ["2 prompts", "2 summaries", "1 code change"]
