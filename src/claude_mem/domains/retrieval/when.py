"""When: the days that a text speaks of, and the words by which a day is asked for.

Owns what is made of dates and relative times (see `timeforms`), in questions and in what is remembered alike. Pure: the
day they are relative to is always given. Nothing raises.

A text remembered on 8 May 2023 that says "yesterday" answers a question about 7 May 2023, but has none of its words:
`resolved` gives them, to be searchable with the text.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from claude_mem.domains.retrieval.timeforms import DAYS, MONTHS, Period, Time, Yearly, read
from claude_mem.kernel.zones import zone

__all__ = [
    "Period",
    "Time",
    "Yearly",
    "day_of",
    "resolved",
    "times",
    "title_words",
    "words",
    "zone",
]

MAX_FOUND: Final = 8


def day_of(moment: int, place: tzinfo = UTC) -> date:
    """The calendar day of a moment (Unix ms) in a zone; the last day there is for what lies beyond."""
    try:
        return (
            (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment))
            .astimezone(place)
            .date()
        )
    except (OverflowError, ValueError):
        return date.max


def words(day: date) -> str:
    """The words by which a day is asked for: `Monday 8 May 2023 2023-05-08 2023年5月8日`."""
    weekday = DAYS[day.weekday()].title()
    return f"{weekday} {title_words(day)} {day.isoformat()} {day.year}年{day.month}月{day.day}日"


def title_words(day: date) -> str:
    """The few words of a day that belong to a title: `8 May 2023`."""
    return f"{day.day} {_month(day)} {day.year}"


def times(text: str, today: date) -> tuple[Time, ...]:
    """The times that a text speaks of on that day, in order of appearance, each once; at most MAX_FOUND."""
    return tuple(dict.fromkeys(time for time, _ in read(text, today)))[:MAX_FOUND]


def resolved(text: str, day: date) -> str:
    """What the relative times of a text mean on that day, in words: `7 May 2023` for "yesterday".

    Only as exact as the text: a week is given by its first and last day, a month as `April 2023`, a year as `2022`.
    """
    said = [
        _said(time)
        for time, is_relative in read(text, day)
        if is_relative and isinstance(time, Period)
    ]
    return " ".join(dict.fromkeys(it for it in said if it))


def _month(day: date) -> str:
    return MONTHS[day.month - 1].title()


def _said(period: Period) -> str:
    first, last = period.first, period.last
    if first == last:
        return title_words(first)
    length = (last - first).days
    if length < 8:
        return f"{title_words(first)} {title_words(last)}"
    if length < 31:
        return f"{_month(first)} {first.year}"
    return str(first.year) if length > 300 else f"{_month(first)} {_month(last)} {last.year}"
