"""`claude-mem suggest`, `similar` and `search --facets`: what a person reads."""

from __future__ import annotations

from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from claude_mem.cli import search, similar, suggest
from claude_mem.cli.main import app


def shown(render: Any, result: dict[str, Any]) -> str:
    out = Console(file=StringIO(), width=200, no_color=True)
    render(out, result)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def found(**changes: Any) -> dict[str, Any]:
    hit = {
        "id": "01",
        "type": "learning",
        "title": "Token reused",
        "project": "ledger",
        "occurred_at": "2026-03-01T10:00:00.000Z",
        "content_preview": "the whole story",
        "relevance_score": 0.5,
    }
    return hit | changes


def case(**changes: Any) -> dict[str, Any]:
    made = {
        "case": "learning",
        "score": 0.5,
        "outcome": "known",
        "problem": None,
        "resolution": None,
        "lessons": {},
        "feedback": {"used": 0},
        "found": found(),
    }
    return made | changes


def test_suggestions_a_line_each() -> None:
    result = {"suggestions": [{"text": "[bold]x", "kind": "word"}, {"text": "b", "kind": "file"}]}
    assert shown(suggest.render, result).splitlines() == ["[bold]x  word", "b  file"]
    assert "Nothing" in shown(suggest.render, {"suggestions": []})


def test_a_case_tells_how_it_came_out() -> None:
    solved = case(outcome="solved", problem="E  token\nexpired", resolution="pytest passes")
    text = shown(similar.render, {"results": [solved]})
    assert "learning: solved · 2026-03-01 · ledger · score 0.50 · 01" in text
    assert "E token expired → pytest passes" in text
    session = case(lessons={"failures": ["it broke"]}, feedback={"used": 3})
    text = shown(similar.render, {"results": [session]})
    assert "it broke" in text
    assert "used 3×" in text
    assert "the whole story" in shown(similar.render, {"results": [case()]})
    assert "No case" in shown(similar.render, {"results": []})


def test_that_only_words_were_searched_is_said_with_hits_and_without() -> None:
    result = {"query": "x", "results": [found()], "total_results": 1, "took_ms": 1.0}
    assert "Only words" not in shown(search.render, result)
    reason = "the model [x] is not installed: claude-mem model install"
    assert reason in shown(similar.render, {"results": [case()], "degraded": reason})
    for hits in ([found()], []):
        text = shown(search.render, {**result, "results": hits, "degraded": reason})
        assert f"Only words were searched, not meanings: {reason}" in text


def test_what_speaks_for_a_hit_is_told_on_demand() -> None:
    parts = [{"part": "meaning", "share": 0.312}, {"part": "date", "share": 0.05}]
    parts += [{"part": "recency", "share": 0.004}]
    hit = {**found(), "explain": parts}
    result = {"query": "x", "results": [hit], "total_results": 1, "took_ms": 1.0}
    assert "meaning 0.31" not in shown(search.render, result)
    text = shown(partial(search.render, explain=True), result)
    assert "meaning 0.31 · date 0.05\n" in text
    hit["translated"] = [{"asked": "回滚", "found": "rollback", "share": 0.3}]
    assert "date 0.05 · 回滚 → rollback\n" in shown(partial(search.render, explain=True), result)


@pytest.mark.parametrize("command", ["search", "similar"])
@pytest.mark.parametrize("words", [[""], ["  ", "\n"]])
def test_nothing_to_look_for_is_said_before_anything_is_started(
    command: str, words: list[str], private_home: Path
) -> None:
    done = CliRunner().invoke(app, [command, *words])
    assert done.exit_code == 2
    assert "nothing to look for" in done.stderr
    assert not list(private_home.iterdir())


def test_facets_stand_below_the_results() -> None:
    result = {
        "query": "x",
        "results": [found()],
        "total_results": 1,
        "took_ms": 1.0,
        "facets": {
            "tool": [{"label": "Bash", "count": 3}, {"label": "Edit", "count": 1}],
            "tag": [],
        },
        "facets_are_of": "candidates",
    }
    text = shown(search.render, result)
    assert "Bash (3)  Edit (1)" in text
    assert "tag" not in text
    assert "most promising" in text
