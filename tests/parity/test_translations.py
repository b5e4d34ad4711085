"""Questions in one language whose answers are in the other, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from parity_support import NOW, SCOPE, Side, on_postgres, on_sqlite, same_ids

from claude_mem.domains.retrieval.facets import FacetService
from claude_mem.domains.retrieval.model import Query, SearchResult
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import deterministic_id
from servers import PostgresServer, Urls

ENGLISH = (
    "Error: listen EADDRINUSE: address already in use",
    "the gateway timed out after thirty seconds",
    "a rollback of the last deploy took a minute",
    "tabs are preferred over spaces",
)
CHINESE = ("支付网关超时，重试三次", "周五不要发布")
QUESTIONS = (
    "端口被占用",
    "超时",
    "回滚",
    "超时 retry",
    '"超时"',
    "-超时 回滚",
    "timeout",
    "weather",
    "试付",
    "天气",
)


@pytest.fixture(scope="module")
def urls(postgres: PostgresServer) -> Iterator[Urls]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, urls: Urls) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("translated")
    sides = (on_sqlite(folder), on_postgres(folder, urls.runtime))
    return [asyncio.run(_told(side)) for side in sides]


async def _told(side: AbstractAsyncContextManager[Side]) -> dict[str, Any]:
    with same_ids():
        async with side as it:
            found: dict[str, Any] = {}
            await it.take([_said(at, text) for at, text in enumerate(ENGLISH)])
            found["english alone"] = [await _plans(it, q) for q in ("timeout", "超时")]
            await it.take([_said(9 + at, text) for at, text in enumerate(CHINESE)])
            found["both"] = [await _plans(it, q) for q in ("timeout", "超时")]
            for question in QUESTIONS:
                found[question] = await it.search.search(SCOPE, Query(question), NOW)
            facets = FacetService(it.database, it.lexical, it.search)
            found["facets"] = await facets.count(SCOPE, Query("端口被占用"), ["type"], NOW)
            return found


async def _plans(side: Side, question: str) -> int:
    planned = await side.read(lambda tx: side.search.plans(SCOPE, tx, Query(question), NOW))
    assert planned is not None
    return len(planned[0])


def _said(at: int, text: str) -> dict[str, Any]:
    moment = NOW - 86_400_000 + at * 1_000
    return {
        "id": deterministic_id(moment, f"said {at}"),
        "type": "prompt.submitted",
        "occurred_at": to_iso(moment),
        "agent": "claude-code",
        "session": f"session {at}",
        "project": "/translated",
        "data": {"content": text, "prompt_id": f"p-{at}"},
    }


def texts(result: SearchResult) -> list[str]:
    return [hit.row["content"] for hit in result.hits if hit.ref.kind == "prompt"]


def test_both_engines_answer_the_same(answered: list[dict[str, Any]]) -> None:
    one, other = answered
    for question in QUESTIONS:
        assert texts(one[question]) == texts(other[question]), question
        assert [hit.translated for hit in one[question].hits] == [
            hit.translated for hit in other[question].hits
        ], question
        assert one[question].total == other[question].total, question
    assert one["facets"] == other["facets"]


def test_a_chinese_question_finds_what_was_said_in_english(answered: list[dict[str, Any]]) -> None:
    for found in answered:
        assert texts(found["端口被占用"])[0] == ENGLISH[0]
        assert ENGLISH[2] in texts(found["回滚"])
        assert dict(found["facets"].values["type"])["prompt"] == 1


def test_it_says_by_which_translation_and_marks_it(answered: list[dict[str, Any]]) -> None:
    for found in answered:
        hit = next(it for it in found["回滚"].hits if it.ref.kind == "prompt")
        assert [(it.phrase, it.translation) for it in hit.translated] == [("回滚", "rollback")]
        assert "<mark>rollback</mark>" in hit.highlights[0]
        assert "content" in hit.matched_fields


def test_what_says_it_as_it_was_asked_comes_first(answered: list[dict[str, Any]]) -> None:
    for found in answered:
        assert texts(found["超时"]) == [CHINESE[0], ENGLISH[1]]


def test_where_no_pair_is_found_single_characters_are_looked_for(
    answered: list[dict[str, Any]],
) -> None:
    for found in answered:
        assert texts(found["试付"]) == [CHINESE[0]]
        assert 0 < found["试付"].hits[0].relevance <= 0.5
        assert texts(found["天气"]) == []


def test_english_finds_chinese_too(answered: list[dict[str, Any]]) -> None:
    for found in answered:
        assert CHINESE[0] in texts(found["timeout"])


def test_what_is_quoted_or_excluded_is_not_translated(answered: list[dict[str, Any]]) -> None:
    for found in answered:
        assert texts(found['"超时"']) == [CHINESE[0]]
        assert texts(found["-超时 回滚"]) == [ENGLISH[2]]


def test_english_is_only_translated_where_something_is_in_chinese(
    answered: list[dict[str, Any]],
) -> None:
    for found in answered:
        assert found["english alone"] == [1, 2]
        assert found["both"] == [2, 2]
