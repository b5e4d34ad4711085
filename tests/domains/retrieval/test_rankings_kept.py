"""Rankings in a cache: what was put in comes out, and what somebody else put there is no ranking."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import kept
from claude_mem.domains.retrieval.model import Ranked, Ranking, Score, Translated

RANKING = Ranking(
    page=(
        Ranked(
            EntityRef("prompt", "1"),
            Score(
                0.5,
                (("round", 0.5),),
                ("round",),
                ("round", "half"),
                (Translated("舍入", "rounding", ("rounding",), 0.25),),
            ),
            0.75,
            (("lexical", 0.5), ("meaning", 0.25)),
        ),
    ),
    words=("round", "half"),
    total=7,
    total_is_estimate=True,
    rarity={"round": 0.5},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def test_what_was_kept_comes_back() -> None:
    assert kept.decode(kept.encode(RANKING)) == RANKING


@pytest.mark.parametrize("other", [None, b"", b"null", b"{}", b"[]", b'"text"', b"\xff"])
def test_anything_else_is_none(other: bytes | None) -> None:
    assert kept.decode(other) is None


def places(value: Any, path: tuple[int | str, ...] = ()) -> list[tuple[int | str, ...]]:
    """Every place of a JSON value."""
    found = [path]
    keys = range(len(value)) if isinstance(value, list) else value if value else ()
    if isinstance(value, list | dict):
        for key in keys:
            found += places(value[key], (*path, key))
    return found


def is_sound(ranking: Ranking) -> bool:
    """Whether each part is what whoever shows it takes it for."""
    texts = [*ranking.words, *ranking.rarity]
    numbers: list[object] = [ranking.total, *ranking.rarity.values()]
    for hit in ranking.page:
        texts += [hit.ref.kind, hit.ref.id, *hit.score.in_title, *hit.score.in_body]
        numbers += [hit.relevance, hit.score.relevance]
        for name, share in (*hit.score.parts, *hit.reasons):
            texts.append(name)
            numbers.append(share)
        for it in hit.score.translated:
            texts += [it.phrase, it.translation, *it.words]
            numbers.append(it.share)
    return all(isinstance(it, str) for it in texts) and all(
        isinstance(it, int | float) for it in numbers
    )


@given(st.data())
def test_a_part_of_another_type_is_no_ranking_or_a_sound_one(data: st.DataObject) -> None:
    whole = orjson.loads(kept.encode(RANKING))
    path = data.draw(st.sampled_from(places(whole)))
    other = data.draw(JSON)
    if path:
        holder = whole
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = other
    else:
        whole = other
    try:
        written = orjson.dumps(whole)
    except TypeError:  # an integer that JSON here has no room for
        return
    found = kept.decode(written)
    assert found is None or is_sound(found)
