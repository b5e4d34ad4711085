"""Moments: parsing and printing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.kernel.clock import from_iso, parse_moment, to_iso

NOW = 1_763_632_800_000  # 2025-11-20T10:00:00Z


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_printing_and_parsing_agree(moment: int) -> None:
    assert from_iso(to_iso(moment)) == moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-20T10:00:00Z", NOW),
        ("2025-11-20T18:00:00+08:00", NOW),
        ("2025-11-20T10:00:00.123Z", NOW + 123),
        ("2025-11-20", NOW - 10 * 3_600_000),
        ("7d", NOW - 7 * 86_400_000),
        ("90m", NOW - 90 * 60_000),
        (" 2W ", NOW - 14 * 86_400_000),
        ("999999w", 0),
    ],
)
def test_what_a_moment_may_look_like(text: str, expected: int) -> None:
    assert parse_moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "7", "-3d", "1969-01-01", "2025-13-01", "٣d "])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(text, NOW)
