"""Repeats: what the same thing again keeps of its relevance."""

from __future__ import annotations

import pytest

from claude_mem.domains.retrieval.model import StoredDocument
from claude_mem.domains.retrieval.repeats import LOSES, factors
from claude_mem.domains.retrieval.terms import pack

_LISTING = "src/a.py src/b.py src/c.py src/d.py src/e.py src/f.py src/g.py src/h.py"


def document(body: str, tool: str | None = "Bash", kind: str = "observation") -> StoredDocument:
    """With nothing of note but what it says."""
    return StoredDocument(
        *(1, kind, "id", None, None, None, "tool_result", tool, None, None, 0, 0.5, 0),
        *(pack(""), 0, pack(body), len(body.split())),
    )


def test_the_first_keeps_all_and_the_same_again_loses_most() -> None:
    assert factors([document(_LISTING)] * 3) == pytest.approx([1.0, 1 - LOSES, 1 - LOSES])


def test_what_is_nearly_the_same_loses_nearly_as_much() -> None:
    first, second = factors(
        [document(_LISTING), document(_LISTING.replace("src/h.py", "src/z.py"))]
    )
    assert first == 1.0
    assert 1 - LOSES < second < 0.85


def test_what_shares_a_few_words_keeps_all() -> None:
    other = "src/a.py and seven other words that stand nowhere else"
    assert factors([document(_LISTING), document(other)]) == [1.0, 1.0]
    assert factors([document(_LISTING), document(_LISTING + " and " * 40 + other * 3)])[1] > 0.85


def test_what_another_tool_made_is_no_repeat() -> None:
    found = [document(_LISTING), document(_LISTING, "Grep"), document(_LISTING, kind="prompt")]
    assert factors(found) == [1.0, 1.0, 1.0]


def test_numbers_of_lines_make_no_repeat() -> None:
    first, second = (
        "\n".join(f"{n} {word}{n % 7} {word}{n % 9}x" for n in range(10, 130))
        for word in ("carrier", "invoice")
    )
    assert factors([document(first), document(second)]) == [1.0, 1.0]
    assert factors([document(first), document(first)])[1] == pytest.approx(1 - LOSES)
    assert factors([document("7 8 9 10 11"), document("7 8 9 10 11")])[1] < 1.0, "numbers alone"


def test_scripts_without_spaces_repeat_too() -> None:
    again = [document("把国家表更新一下，少了两个国家"), document("把国家表更新一下，少了两个国家")]
    assert factors(again)[1] < 1.0


def test_of_nothing_there_is_nothing() -> None:
    assert factors([]) == []
    assert factors([document("")]) == [1.0]
