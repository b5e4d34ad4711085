"""`claude-mem search`: which arguments are words, and how they become a query."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from claude_mem.cli import search


def parsed(*arguments: str) -> dict[str, Any]:
    """What the command would be called with."""
    app = typer.Typer()
    search.register(app)
    command = typer.main.get_command(app)
    with command.make_context("search", list(arguments)) as context:
        return context.params


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["retry", "-flaky"], ["retry", "-flaky"]),
        (["-flaky"], ["-flaky"]),
        (["-running", "tests"], ["-running", "tests"]),  # an n of -n in it
        (["-the", "-h5"], ["-the", "-h5"]),  # an h of -h in it
        (["-not", "-n5"], ["-not"]),
        (["a", "-b c"], ["a", "-b c"]),
        (["a", "--", "-n", "--json"], ["a", "-n", "--json"]),
        (["-提醒", "-*"], ["-提醒", "-*"]),
        (["-"], ["-"]),
    ],
)
def test_a_word_with_a_minus_is_a_word(arguments: list[str], words: list[str]) -> None:
    assert parsed(*arguments)["words"] == words


@pytest.mark.parametrize("limit", [["-n", "5"], ["-n5"], ["--limit", "5"], ["--limit=5"]])
def test_known_options_stay_options_among_such_words(limit: list[str]) -> None:
    found = parsed("a", "-b", *limit, "--tool", "-c", "-d", "--json")
    assert (found["words"], found["limit"], found["tool"]) == (["a", "-b", "-d"], 5, "-c")
    assert found["as_json"] is True


@pytest.mark.parametrize("arguments", [["a", "--limt", "5"], [], ["-n", "x", "a"], ["a", "-n"]])
def test_mistakes_are_still_told(arguments: list[str]) -> None:
    app = typer.Typer()
    search.register(app)
    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("words", "query"),
    [
        (["a phrase"], "a phrase"),
        (["one", "a phrase"], 'one "a phrase"'),
        (["one", "-a phrase"], 'one -"a phrase"'),
        (["one", '-"a phrase"'], 'one -"a phrase"'),
        (["one", "-two", "pre*"], "one -two pre*"),
    ],
)
def test_the_quotes_that_the_shell_took_come_back(words: list[str], query: str) -> None:
    assert search._join(words) == query
