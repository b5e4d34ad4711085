"""The steps of a search: in which order, and what ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from claude_mem.domains.retrieval import progressive
from claude_mem.domains.retrieval.model import SearchResult
from claude_mem.domains.retrieval.progressive import Step, steps
from claude_mem.kernel.errors import Unavailable

pytestmark = pytest.mark.anyio
WORDS = SearchResult((), 1, False, ("words",), ())
MEANING = SearchResult((), 2, False, ("meaning",), ())


def answering(result: SearchResult, after: asyncio.Event | None = None) -> Callable[[], Any]:
    async def search() -> SearchResult:
        if after is not None:
            await after.wait()
        return result

    return search


def failing(error: Exception) -> Callable[[], Any]:
    async def search() -> SearchResult:
        raise error

    return search


async def told(*searches: Any, **more: Any) -> list[Step]:
    return [step async for step in steps(*searches, **more)]


async def test_words_first_then_both_then_the_end() -> None:
    assert await told(answering(WORDS), answering(MEANING)) == [
        Step("lexical", WORDS),
        Step("fused", MEANING),
        Step("done"),
    ]


async def test_the_first_step_does_not_wait_for_the_second() -> None:
    held = asyncio.Event()
    told_so_far = steps(answering(WORDS), answering(MEANING, held))
    assert await anext(told_so_far) == Step("lexical", WORDS)
    held.set()
    assert await anext(told_so_far) == Step("fused", MEANING)
    await told_so_far.aclose()


async def test_both_search_side_by_side() -> None:
    begun = asyncio.Event()

    async def meaning() -> SearchResult:
        begun.set()
        return MEANING

    found = await told(
        answering(WORDS, begun), meaning
    )  # the first ends only after the second began
    assert [step.name for step in found] == ["lexical", "fused", "done"]


@pytest.mark.parametrize(
    ("search", "reason"),
    [
        (None, progressive.NO_VECTORS),
        (failing(Unavailable("no model: get one")), "no model: get one"),
        (failing(ValueError("secret")), progressive.FAILED),
    ],
)
async def test_without_meaning_the_results_by_words_stand(search: Any, reason: str) -> None:
    found = await told(answering(WORDS), search)
    assert found == [Step("lexical", WORDS), Step("degraded", reason=reason), Step("done")]


async def test_what_takes_too_long_is_given_up_and_ended() -> None:
    ended = asyncio.Event()
    found = await told(answering(WORDS), _until_cancelled(ended), deadline_s=0.05)
    assert [step.name for step in found] == ["lexical", "degraded", "done"]
    assert "too long" in found[1].reason
    assert ended.is_set()


async def test_what_words_cannot_answer_is_raised_and_the_other_search_ends() -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def words() -> SearchResult:
        await begun.wait()
        raise Unavailable("busy")

    with pytest.raises(Unavailable):
        await told(words, _until_cancelled(ended, begun))
    assert ended.is_set()


async def test_who_stops_listening_ends_the_search() -> None:
    ended = asyncio.Event()
    told_so_far = steps(answering(WORDS), _until_cancelled(ended))
    await anext(told_so_far)
    await asyncio.sleep(0)
    await told_so_far.aclose()
    assert ended.is_set()


def _until_cancelled(ended: asyncio.Event, begun: asyncio.Event | None = None) -> Callable[[], Any]:
    async def search() -> SearchResult:
        try:
            if begun is not None:
                begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()
        return MEANING

    return search
