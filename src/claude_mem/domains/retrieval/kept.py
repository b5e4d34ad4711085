"""Rankings as they are kept in a cache, and the names they are kept under. Pure.

Kept is only what the index said: references, shares, totals; nothing that is remembered. Whoever shows a ranking reads
its rows anew, so that what is gone or may not be seen is not shown. A name holds everything a ranking depends on.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any, Final

import orjson

from claude_mem import __version__
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.model import (
    Collection,
    Filters,
    Query,
    Ranked,
    Ranking,
    Score,
    Translated,
)
from claude_mem.kernel.scope import Scope
from claude_mem.ports.lexical import LexicalPlan
from claude_mem.ports.vectors import VectorModel

KEEP_S: Final = 600


def name_of(
    scope: Scope,
    plan: LexicalPlan,
    filters: Filters,
    collection: Collection,
    query: Query,
    meaning: tuple[VectorModel | None, str],
) -> str:
    """The name of a ranking: who asks, for what, of which state of the index, by which program.

    The plan's labels hold what an open end of time comes to today; `meaning` is whose vector of the question was
    compared, if any, and the day that relative times of the question are counted from.
    """
    # Capitals tell names from other words; how many spaces there are tells nothing.
    wanted = (" ".join(query.text.split()), query.offset, query.limit, query.fusion)
    asked = (_plain(scope), plan, filters, collection, wanted, meaning, __version__)
    digest = blake2b(repr(asked).encode("utf-8", "surrogatepass"), digest_size=20)
    return f"search {digest.hexdigest()}"


def encode(ranking: Ranking) -> bytes:
    """A ranking as bytes."""
    page = [
        (it.ref.kind, it.ref.id, *_flat(it.score), it.relevance, it.reasons) for it in ranking.page
    ]
    return orjson.dumps(
        (page, ranking.words, ranking.total, ranking.total_is_estimate, ranking.rarity)
    )


def decode(kept: bytes | None) -> Ranking | None:
    """A ranking from `encode`; None for anything else."""
    if kept is None:
        return None
    try:
        page, words, total, total_is_estimate, rarity = orjson.loads(kept)
        return Ranking(
            page=tuple(_ranked(*hit) for hit in page),
            words=tuple(map(_text, words)),
            total=operator.index(total),
            total_is_estimate=bool(total_is_estimate),
            rarity={_text(word): float(share) for word, share in rarity.items()},
        )
    except (ValueError, TypeError, AttributeError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value


def _ranked(
    kind: str,
    entity_id: str,
    relevance: float,
    parts: Sequence[tuple[str, float]],
    in_title: Sequence[str],
    in_body: Sequence[str],
    translated: Sequence[tuple[str, str, Sequence[str], float]],
    fused: float,
    reasons: Sequence[tuple[str, float]],
) -> Ranked:
    return Ranked(
        EntityRef(_text(kind), _text(entity_id)),
        Score(
            float(relevance),
            _pairs(parts),
            tuple(map(_text, in_title)),
            tuple(map(_text, in_body)),
            tuple(
                Translated(_text(said), _text(found), tuple(map(_text, by)), float(share))
                for said, found, by, share in translated
            ),
        ),
        float(fused),
        _pairs(reasons),
    )


def _flat(score: Score) -> tuple[Any, ...]:
    translated = [tuple(it) for it in score.translated]
    return score.relevance, score.parts, score.in_title, score.in_body, translated


def _pairs(listed: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple((_text(name), float(share)) for name, share in listed)


def _plain(scope: Scope) -> list[Any]:
    """Everything a scope says, in an order that is the same in every process."""
    said = (getattr(scope, field.name) for field in fields(scope))
    return [sorted(it) if isinstance(it, frozenset) else it for it in said]
