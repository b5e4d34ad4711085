"""Labels: filters as tokens, so that an engine intersects them with the words and no filter
starves.

Owns their spelling, which is stored in the index. Pure. One letter and a dot, then the value; a
value that no token can hold, or a long one, is replaced by its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from claude_mem.domains.retrieval import when
from claude_mem.domains.retrieval.model import Filters, IndexEntry

LONGEST = 62  # days of a time that is looked through: in more the words must tell
YEARS = 4
# Each year of a span is a label, and each label is looked up: nothing else is before or after these.
_FIRST, _LAST = date(1900, 1, 1), date(2199, 12, 31)
_PLAIN = re.compile(r"[a-z0-9_./-]{1,64}")
_PATH_TAILS = 4
_REMEMBERED = 2_048  # labels come back: those of a session, a project, the files in hand


@lru_cache(_REMEMBERED)
def _label(letter: str, value: str) -> str:
    lower = value.lower()
    if _PLAIN.fullmatch(lower):
        return f"{letter}.{lower}"
    digest = hashlib.blake2b(lower.encode("utf-8", "surrogatepass"), digest_size=10)
    return f"{letter}.-{digest.hexdigest()}"


def of_entry(entry: IndexEntry) -> str:
    """The labels of a document, joined by spaces."""
    day = _day(entry.occurred_at)
    found = [f"k.{entry.kind}", *_day_labels(day)]
    for letter, value in (
        ("p", entry.project_id),
        ("s", entry.session_id),
        ("t", entry.type),
        ("w", entry.tool),
        ("r", entry.role),
    ):
        if value:
            found.append(_label(letter, value))
    found += [_label("g", tag) for tag in entry.tags if tag]
    found += [label for file in entry.files for label in _file_labels(file)]
    return " ".join(dict.fromkeys(found))


def of_filters(filters: Filters, now: int) -> tuple[tuple[str, ...], ...]:
    """Groups of labels, one of each group required. Moments are cut to days: the rest is checked
    on the candidates.
    """
    groups: list[tuple[str, ...]] = []
    if filters.project_ids is not None:
        groups.append(tuple(_label("p", project) for project in filters.project_ids) or ("p.-",))
    for letter, value in (
        ("k", filters.kind),
        ("t", filters.type),
        ("w", filters.tool),
        ("r", filters.role),
        ("g", filters.tag),
        ("s", filters.session_id),
    ):
        if value is not None:
            groups.append((_label(letter, value),))
    if filters.file is not None:
        groups.append((_file_label(filters.file),))
    if filters.since is not None or filters.until is not None:
        groups.append(tuple(_span_labels(filters.since or 0, filters.until, now)))
    return tuple(groups)


def of_times(times: Iterable[when.Time], today: date) -> tuple[str, ...]:
    """Labels of the days that a question speaks of, and a day more at each end: labels are of days in UTC.

    Times of more than LONGEST days are passed over. A day of no year is one of the last YEARS.
    """
    found: list[str] = []
    for time in times:
        for first, last in _periods(time, today):
            if (last - first).days <= LONGEST:
                found += _covering(_shifted(first, -1), _shifted(last, 1))
    return tuple(dict.fromkeys(found))


def _periods(time: when.Time, today: date) -> Iterator[tuple[date, date]]:
    if isinstance(time, when.Period):
        yield time.first, time.last
        return
    for year in range(max(today.year - YEARS, 1), today.year + 1):
        try:
            first = date(year, time.month, time.day or 1)
        except ValueError:  # 29 February of another year
            continue
        yield first, first if time.day else _month_end(first)


def _shifted(day: date, days: int) -> date:
    """Another day, or the first or last there is."""
    ordinal = min(max(day.toordinal() + days, 1), date.max.toordinal())
    return date.fromordinal(ordinal)


def of_files(files: Iterable[str]) -> tuple[str, ...]:
    """Labels of what is about one of some files, each known by its last components."""
    found = (
        [part for part in _components(file) if part not in ("~", "..")][-_PATH_TAILS:]
        for file in files
    )
    return tuple(dict.fromkeys(_label("f", "/".join(parts)) for parts in found if parts))


def beginning(text: str) -> tuple[str, ...]:
    """Beginnings (ending in `*`) of the labels of files, tags and tools; none where values are hashed."""
    lower = text.lower().strip("/")
    return tuple(f"{letter}.{lower}*" for letter in "fgw") if _PLAIN.fullmatch(lower) else ()


def _components(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


@lru_cache(_REMEMBERED)
def _file_labels(path: str) -> tuple[str, ...]:
    """A file can be asked for by up to its last four components, or by all of them."""
    parts = _components(path)
    tails = [parts[-count:] for count in range(1, min(len(parts), _PATH_TAILS) + 1)]
    return tuple(_label("f", "/".join(tail)) for tail in [*tails, parts] if tail)


def _file_label(path: str) -> str:
    return _label("f", "/".join(_components(path)) or "-")


def _day(epoch_ms: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)).date()


@lru_cache(64)
def _day_labels(day: date) -> tuple[str, str, str]:
    return f"d.{day:%Y%m%d}", f"m.{day:%Y%m}", f"y.{day:%Y}"


def _span_labels(since: int, until: int | None, now: int) -> Iterator[str]:
    """Days, whole months and whole years that cover [since, until]; an open end is next year's."""
    day = max(_day(since), _FIRST)
    open_end = date(min(_day(now).year + 1, _LAST.year), 12, 31)
    end = open_end if until is None else min(_day(until), _LAST)
    if day > end:
        yield "d.-"  # an empty span: a label that no document has
    yield from _covering(day, end)


def _covering(day: date, end: date) -> Iterator[str]:
    """Days, whole months and whole years that cover both days and what lies between."""
    while day <= end:
        year, month = date(day.year, 12, 31), _month_end(day)
        if day.month == day.day == 1 and year <= end:
            yield f"y.{day:%Y}"
            day = year
        elif day.day == 1 and month <= end:
            yield f"m.{day:%Y%m}"
            day = month
        else:
            yield f"d.{day:%Y%m%d}"
        if day == date.max:
            return
        day += timedelta(days=1)


def _month_end(day: date) -> date:
    if day.month == 12:
        return date(day.year, 12, 31)
    return date(day.year, day.month + 1, 1) - timedelta(days=1)
