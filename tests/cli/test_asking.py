"""`claude-mem search` and `context` where a project is not known: a new folder is no mistake, a wrong name is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from import_support import Cli, transcript, worker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("person")
    with worker(folder) as home, pytest.MonkeyPatch.context() as patch:
        cli = Cli(home, patch)
        cli.told("import", transcript(folder / "s.jsonl", 2, session="one", cwd="/home/dev/shop"))
        yield home


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(home, monkeypatch)


def test_a_folder_nothing_is_known_of_is_no_mistake(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cli.told("context")
    assert (found["ok"], found["text"], found["items"]) == (True, "", [])
    assert "Nothing is remembered" in cli.run("context")
    assert cli.told("context", "--project", "shop")["ok"] is True


@pytest.mark.parametrize("words", [["context"], ["search", "anything"]])
def test_a_project_that_is_not_known_is_told_with_those_that_are(
    cli: Cli, words: list[str]
) -> None:
    found = cli.told(*words, "--project", "shpo", code=1)
    assert (found["ok"], found["code"]) == (False, "RESOURCE_NOT_FOUND")
    assert "known are shop" in found["error"]
    assert "--project" in found["next_step"]


def test_nothing_found_in_a_known_project_is_an_answer(cli: Cli) -> None:
    found = cli.told("search", "zebra", "--project", "shop")
    assert (found["ok"], found["results"]) == (True, [])
