"""Dates and relative times, in English and Chinese: what they mean on a Monday in May, and what is none."""

from __future__ import annotations

from datetime import UTC, date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import when
from claude_mem.domains.retrieval.when import Period, Yearly

TODAY = date(2023, 5, 8)  # a Monday


def days(first: str, last: str = "") -> Period:
    return Period(date.fromisoformat(first), date.fromisoformat(last or first))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on 2023-02-03", days("2023-02-03")),
        ("8 May 2023", days("2023-05-08")),
        ("the 8th of May, 2023", days("2023-05-08")),
        ("May 8th, 2023", days("2023-05-08")),
        ("Aug 15th", Yearly(8, 15)),
        ("in May 2022", days("2022-05-01", "2022-05-31")),
        ("what we did in May", Yearly(5)),
        ("In 2022, we moved", days("2022-01-01", "2022-12-31")),
        ("yesterday", days("2023-05-07")),
        ("last night", days("2023-05-07")),
        ("the day before yesterday", days("2023-05-06")),
        ("the day after tomorrow", days("2023-05-10")),
        ("this morning", days("2023-05-08")),
        ("3 days ago", days("2023-05-05")),
        ("a couple of days ago", days("2023-05-06")),
        ("two weeks ago", days("2023-04-23", "2023-04-25")),
        ("a month ago", days("2023-04-01", "2023-04-30")),
        ("ten years ago", days("2013-01-01", "2013-12-31")),
        ("in 3 days", days("2023-05-11")),
        ("last week", days("2023-05-01", "2023-05-07")),
        ("this weekend", days("2023-05-13", "2023-05-14")),
        ("next month", days("2023-06-01", "2023-06-30")),
        ("last year", days("2022-01-01", "2022-12-31")),
        ("last Friday", days("2023-05-05")),
        ("last Monday", days("2023-05-01")),
        ("next Monday", days("2023-05-15")),
        ("last May", days("2022-05-01", "2022-05-31")),
        ("next May", days("2024-05-01", "2024-05-31")),
        ("last summer", days("2022-06-01", "2022-08-31")),
        ("last winter", days("2022-12-01", "2023-02-28")),
        ("the past two weeks", days("2023-04-23", "2023-05-08")),
        ("2023年5月8日", days("2023-05-08")),
        ("2022年三月", days("2022-03-01", "2022-03-31")),
        ("5月8号", Yearly(5, 8)),
        ("十二月", Yearly(12)),
        ("2021年", days("2021-01-01", "2021-12-31")),
        ("昨天", days("2023-05-07")),
        ("大前天", days("2023-05-05")),
        ("三天前", days("2023-05-05")),
        ("二十一天前", days("2023-04-17")),
        ("二三十天前", days("2023-04-08")),
        ("两个星期前", days("2023-04-23", "2023-04-25")),
        ("三个月后", days("2023-08-01", "2023-08-31")),
        ("半年前", days("2022-11-01", "2022-11-30")),
        ("上周", days("2023-05-01", "2023-05-07")),
        ("上周三", days("2023-05-03")),
        ("上上周", days("2023-04-24", "2023-04-30")),
        ("下周末", days("2023-05-20", "2023-05-21")),
        ("上个月", days("2023-04-01", "2023-04-30")),
        ("去年", days("2022-01-01", "2022-12-31")),
        ("去年三月", days("2022-03-01", "2022-03-31")),
    ],
)
def test_a_time_is_read(text: str, expected: when.Time) -> None:
    assert when.times(text, TODAY) == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "may I ask?",
        "we march on",
        "a summary of the marginal case",
        "Feb 31",
        "port 8080, v2.10 and 12.5 seconds",
        "2023-13-40",
        "13月",
        "the 20th century",
        "an in-house week",
    ],
)
def test_what_is_no_time_is_passed_over(text: str) -> None:
    assert when.times(text, TODAY) == ()


def test_times_come_in_order_once_each_and_are_bounded() -> None:
    assert when.times("today or yesterday, yes, today", TODAY) == (
        days("2023-05-08"),
        days("2023-05-07"),
    )
    many = " ".join(f"2023-01-{day:02}" for day in range(1, 29))
    assert len(when.times(many, TODAY)) == when.MAX_FOUND


def test_what_a_text_meant_is_said_in_the_words_that_are_asked_for() -> None:
    assert when.resolved("I went yesterday", TODAY) == "7 May 2023"
    assert when.resolved("last year and two months ago", TODAY) == "2022 March 2023"
    assert when.resolved("上周三去了", TODAY) == "3 May 2023"
    assert when.resolved("last week", TODAY) == "1 May 2023 7 May 2023"
    assert when.resolved("on 3 May 2020", TODAY) == "", "it has its words already"
    assert when.resolved("nothing of the kind", TODAY) == ""


def test_the_words_of_a_day() -> None:
    assert when.words(TODAY) == "Monday 8 May 2023 2023-05-08 2023年5月8日"
    assert when.title_words(TODAY) == "8 May 2023"


def test_the_day_of_a_moment_depends_on_the_zone() -> None:
    late = 1_683_504_000_000 + 22 * 3_600_000  # 2023-05-08T22:00Z
    assert when.day_of(late) == TODAY
    assert when.day_of(late, when.zone("Asia/Shanghai")) == TODAY + timedelta(days=1)
    assert when.zone("No/Such_Zone") is UTC
    assert when.zone("../etc/passwd") is UTC
    assert when.day_of(10**18) == date.max


def test_a_leap_day_and_the_ends_of_the_calendar_raise_nothing() -> None:
    assert when.times("a year ago", date(2024, 2, 29)) == (days("2023-01-01", "2023-12-31"),)
    assert when.times("Feb 29", TODAY) == (Yearly(2, 29),)
    assert when.times("yesterday", date.min) == ()
    assert when.times("in 900 years", date.max) == ()


@given(st.text(), st.dates())
def test_any_text_on_any_day(text: str, day: date) -> None:
    assert len(when.times(text, day)) <= when.MAX_FOUND
    when.resolved(text, day)


_PIECES = st.sampled_from(
    [
        "last",
        "this",
        "next",
        "3",
        "31",
        "two",
        "few",
        "week",
        "months",
        "Feb",
        "may",
        "2023",
        "年",
        "月",
        "日",
        "上",
        "个",
        "周",
        "十",
        "前",
        "后",
        "ago",
        "in",
        "the",
        "past",
        "day",
        "29th",
        ",",
        "半",
        "几",
    ]
)


@given(st.lists(_PIECES, max_size=8), st.dates(), st.booleans())
def test_pieces_of_dates_in_any_order(pieces: list[str], day: date, spaced: bool) -> None:
    for time in when.times((" " if spaced else "").join(pieces), day):
        if isinstance(time, Period):
            assert time.first <= time.last
            assert time.holds(time.first)
            assert not time.last < date.max or not time.holds(time.last + timedelta(days=1))
