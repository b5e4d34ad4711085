"""A search told in steps: what the words find at once, what the meaning adds when it is ready.

Owns the order of the steps and nothing of how a leg searches: it is given two functions. The first step never waits for
the second; a second one that fails, or takes too long, is told as a step, never raised. Whoever stops listening closes
the generator, and what is still being searched is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from claude_mem.domains.retrieval.model import SearchResult
from claude_mem.kernel.errors import MemError

LEXICAL, FUSED, DEGRADED, DONE = "lexical", "fused", "degraded", "done"
STEPS: Final = (LEXICAL, FUSED, DEGRADED, DONE)
DEADLINE_S: Final = 10.0
NO_VECTORS: Final = "nothing is searched by meaning here: these are the results by words"
FAILED: Final = "the search by meaning failed: these are the results by words"

_log = structlog.get_logger("search")
Search = Callable[[], Awaitable[SearchResult]]


@dataclass(frozen=True, slots=True)
class Step:
    """`name` is one of `STEPS`; `lexical` and `fused` have a result, `degraded` says why there is no fused one."""

    name: str
    result: SearchResult | None = None
    reason: str = ""


async def steps(
    lexical_search: Search, hybrid_search: Search | None, deadline_s: float = DEADLINE_S
) -> AsyncGenerator[Step, None]:
    """`lexical`, then `fused` or `degraded`, then `done`. Both searches run side by side.

    Raises what the lexical search raises: without it there is nothing to tell.
    """
    hybrid = None if hybrid_search is None else asyncio.ensure_future(hybrid_search())
    until = asyncio.get_running_loop().time() + deadline_s
    try:
        yield Step(LEXICAL, await lexical_search())
        yield await _second(hybrid, until)
        yield Step(DONE)
    finally:
        if hybrid is not None:
            hybrid.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await hybrid


async def _second(hybrid: asyncio.Future[SearchResult] | None, until: float) -> Step:
    if hybrid is None:
        return Step(DEGRADED, reason=NO_VECTORS)
    try:
        async with asyncio.timeout_at(until):
            return Step(FUSED, await hybrid)
    except TimeoutError:
        return Step(DEGRADED, reason="the search by meaning took too long")
    except MemError as error:
        return Step(DEGRADED, reason=error.message)
    except Exception:  # noqa: BLE001 - whatever a leg fails by: the results by words stand
        _log.exception("search.second_step")
        return Step(DEGRADED, reason=FAILED)
