"""The labels of the days that a question speaks of."""

from __future__ import annotations

from datetime import date

import pytest

from claude_mem.domains.retrieval.labels import YEARS, of_filters, of_times
from claude_mem.domains.retrieval.model import Filters
from claude_mem.domains.retrieval.when import Period, Yearly

TODAY = date(2026, 11, 29)


def test_a_day_has_its_neighbours_beside_it_for_labels_are_of_utc() -> None:
    day = date(2026, 3, 3)
    assert of_times([Period(day, day)], TODAY) == ("d.20260302", "d.20260303", "d.20260304")


@pytest.mark.parametrize("since", [None, -62_135_596_800_000, 0, 253_402_300_799_999])
@pytest.mark.parametrize("until", [None, -62_135_596_800_000, 0, 253_402_300_799_999])
@pytest.mark.parametrize("now", [-62_135_596_800_000, 0, 253_402_300_799_999])
def test_no_span_has_thousands_of_labels(since: int | None, until: int | None, now: int) -> None:
    groups = of_filters(Filters(since=since, until=until), now)
    assert sum(map(len, groups)) < 320


def test_a_month_is_one_label_with_a_day_at_each_end() -> None:
    month = Period(date(2026, 4, 1), date(2026, 4, 30))
    assert of_times([month], TODAY) == ("d.20260331", "m.202604", "d.20260501")


def test_a_day_of_no_year_is_one_of_the_last_years() -> None:
    found = of_times([Yearly(3, 3)], TODAY)
    assert len(found) == 3 * (YEARS + 1)
    assert {"d.20260303", "d.20220303"} < set(found)
    assert of_times([Yearly(2, 29)], TODAY) == ("d.20240228", "d.20240229", "d.20240301")


@pytest.mark.parametrize(
    "time",
    [
        Period(date(2025, 1, 1), date(2025, 12, 31)),
        Period(date.min, date.max),
        Period(date(2026, 1, 1), date(2026, 4, 1)),
    ],
)
def test_long_times_are_passed_over(time: Period) -> None:
    assert of_times([time], TODAY) == ()


def test_the_first_and_the_last_day_there_are() -> None:
    for day in (date.min, date.max):
        assert of_times([Period(day, day)], TODAY)
    assert of_times([Yearly(12, 31)], date.max)
    assert of_times([Yearly(1, 1)], date.min)
    assert of_times([], TODAY) == ()
