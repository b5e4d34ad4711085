"""Reranking: the first few results in the order of a model that reads question and text together.

Owns when the model's order stands. A model that is away, too slow or wrong leaves the order as it was, and the reason
is told: never an error, and never a result more or less.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from claude_mem.domains.retrieval.model import Hit
from claude_mem.kernel.errors import MemError
from claude_mem.kernel.redact import mask_text
from claude_mem.ports.reranker import Reranker

TOP: Final = 30
DEADLINE_S: Final = 1.5
TEXT_CHARS: Final = 2_000
QUERY_CHARS: Final = 1_000
_Item = TypeVar("_Item")
_log = structlog.get_logger("search")


@dataclass(frozen=True, slots=True)
class Reranked(Generic[_Item]):
    """`scores` are the model's, of as many items as it read, in their new order; none when the order is as it was, and
    then `degraded` says why (empty where there is no model).
    """

    items: list[_Item]
    scores: tuple[float, ...] = ()
    degraded: str = ""


# What a search takes: the question and its hits, in; the same hits, in the model's order, out.
Rerank = Callable[[str, Sequence[Hit]], Awaitable[Reranked[Hit]]]


async def rerank_top(
    reranker: Reranker | None,
    query: str,
    items: Sequence[_Item],
    text_of: Callable[[_Item], str],
    *,
    top: int = TOP,
    deadline_s: float = DEADLINE_S,
) -> Reranked[_Item]:
    """The first `top` items by the model, equals as they were; the others behind them as they are."""
    first, rest = list(items[:top]), list(items[top:])
    if reranker is None or len(first) < 2 or not query.strip():
        return Reranked(list(items))
    texts = [text_of(item)[:TEXT_CHARS] for item in first]
    try:
        async with asyncio.timeout(deadline_s):
            # A question is not masked where it comes in, and the model may be somebody else's.
            scores = await reranker.rerank(mask_text(query[:QUERY_CHARS]), texts)
    except TimeoutError:
        return Reranked(list(items), degraded=f"the reranker took more than {deadline_s:g} s")
    except MemError as error:
        return Reranked(list(items), degraded=error.message)
    except Exception:  # noqa: BLE001 - whatever a model fails by: the order stands without it
        _log.exception("search.rerank")
        return Reranked(list(items), degraded="the reranker failed")
    if len(scores) != len(first) or not all(map(math.isfinite, scores)):
        return Reranked(list(items), degraded="the reranker gave no score for each text")
    order = sorted(range(len(first)), key=lambda place: -scores[place])
    return Reranked([first[it] for it in order] + rest, tuple(scores[it] for it in order))
