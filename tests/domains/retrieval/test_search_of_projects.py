"""Searching one project where most is of it: nothing of another is shown, and nothing of it is lost."""

from __future__ import annotations

import pytest
from search_support import Memory, Note, search_store

pytestmark = pytest.mark.anyio

__all__ = ["search_store"]


@pytest.mark.parametrize("in_haste", [False, True])
async def test_a_project_that_most_is_of_shows_nothing_of_others(
    store: Memory, in_haste: bool
) -> None:
    """In haste its label is not asked for then: who ranks looks at the rows."""
    many = [Note(f"token number{number}") for number in range(40)]
    others = [Note(f"token other{number}", project="/home/dev/shop") for number in range(9)]
    await store.remember("first", *many, *others)
    asked = {"in_haste": in_haste, "limit": 50}
    found = await store.find("token", project="ledger", **asked)
    assert {hit.project for hit in found.hits} == {"ledger"}
    assert (len(found.hits), found.total, found.total_is_estimate) == (40, 40, False)
    assert await store.bodies("other3", project="ledger", **asked) == []
    assert await store.bodies("other3", project="shop", **asked) == ["token other3"]


@pytest.mark.parametrize("fusion", ["lexical", "score"])
@pytest.mark.parametrize("newest", ["ledger", "shop"])
async def test_a_word_of_another_project_crowds_nothing_out(
    store: Memory, newest: str, fusion: str
) -> None:
    """Words go with projects: that most documents are of one says nothing of those that have a word.

    What is newest tells the share of a project, so one that has just begun can pass for nearly everything.
    """
    few = [Note(f"kubernetes at length {'word ' * 30} ledger{number}") for number in range(25)]
    fill = [Note(f"filler{number}") for number in range(1_300)]
    many = [Note(f"kubernetes {number}", project="/home/dev/shop") for number in range(300)]
    more = [Note(f"other{number}", project="/home/dev/shop") for number in range(300)]
    order = [*many, *few, *fill] if newest == "ledger" else [*fill, *few, *many, *more]
    await store.remember(*order)
    for project, count in (("ledger", 25), ("shop", 300)):
        asked = {"project": project, "limit": 20, "fusion": fusion, "in_haste": True}
        found = await store.find("kubernetes", **asked)
        assert {hit.project for hit in found.hits} == {project}
        assert len(found.hits) == min(20, count)
