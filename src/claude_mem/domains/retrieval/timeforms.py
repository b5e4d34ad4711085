"""Time forms: how dates and relative times are written, and what each means on a given day.

Owns the forms: "8 May 2023", "last week", "three days ago"; 2023年5月8日, 上周三, 三天前. Pure. What cannot be a date
is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

MAX_CHARS: Final = 4_000  # of a text that is looked through, from its beginning

MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FEW_DAYS: Final = 2
_SEASONS: Final = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_NUMBERS: Final = {
    "a": 1, "an": 1, "one": 1, "two": 2, "couple": 2, "three": 3, "few": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip
_HAN: Final = {character: number for number, character in enumerate("〇一二三四五六七八九十")} | {
    "零": 0,
    "两": 2,
    "几": 3,
}
_HAN_DAYS: Final = {character: number for number, character in enumerate("一二三四五六日")} | {
    "天": 6
}

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)(?![a-z])\.?"
)
_DAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_NUMBER = rf"(?:\d{{1,3}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_HAN_NUMBER = r"(?:\d{1,3}|[一二三四五六七八九十两几]{1,3})"


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both ends included."""

    first: date
    last: date

    def holds(self, day: date) -> bool:
        """Whether the day is one of them."""
        return self.first <= day <= self.last

    @property
    def is_day(self) -> bool:
        """Whether it is one day, or the few of a weekend."""
        return (self.last - self.first).days <= _FEW_DAYS


@dataclass(frozen=True, slots=True)
class Yearly:
    """A month of any year ("in May"), or a day of it ("on May 8th")."""

    month: int
    day: int | None = None

    def holds(self, day: date) -> bool:
        """Whether the day is in it, whatever the year."""
        return day.month == self.month and self.day in (None, day.day)

    @property
    def is_day(self) -> bool:
        """Whether it is a day, and not all of the month."""
        return self.day is not None


Time = Period | Yearly
_Reader = Callable[[re.Match[str], date], Time | None]


def read(text: str, today: date) -> Iterator[tuple[Time, bool]]:
    """(time, whether it is relative to the day), in order of appearance; the longer reading wins."""
    places: list[tuple[int, int, Time, bool]] = []
    text = text[:MAX_CHARS]
    lowered = text.lower()
    for hints, pattern, read, is_relative in _READERS:
        if not any(hint in lowered for hint in hints):
            continue  # what most forms are in most texts, at a hundredth of the cost
        for match in pattern.finditer(text):
            if any(start < match.end() and match.start() < end for start, end, _, _ in places):
                continue
            try:
                time = read(match, today)
            except (ValueError, OverflowError):
                continue  # no such day: the 31st of February, the year 12000
            if time is not None:
                places.append((match.start(), match.end(), time, is_relative))
    for _, _, time, is_relative in sorted(places, key=lambda place: place[:2]):
        yield time, is_relative


# -- days and what is made of them ----------------------------------------------------------------


def _one(day: date) -> Period:
    return Period(day, day)


def _shifted(day: date, months: int) -> date:
    """The first day of the month so many months away."""
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def _of_month(first: date) -> Period:
    return Period(first, _shifted(first, 1) - timedelta(days=1))


def _of_year(year: int) -> Period:
    return Period(date(year, 1, 1), date(year, 12, 31))


def _of_week(today: date, weeks: int) -> Period:
    monday = today - timedelta(days=today.weekday()) + timedelta(weeks=weeks)
    return Period(monday, monday + timedelta(days=6))


def _month_number(name: str) -> int:
    return next(
        number for number, month in enumerate(MONTHS, 1) if month.startswith(name.lower()[:3])
    )


def _number(word: str) -> int:
    word = word.lower()
    if word.isdecimal():
        return int(word)
    return _NUMBERS[word] if word in _NUMBERS else _han_number(word)


def _han_number(word: str) -> int:
    """Up to ninety-nine: 三, 十, 十二, 二十一; of a guess (二三十) the greater number."""
    if "十" not in word:
        return _HAN[word[-1]]
    tens, _, ones = word.partition("十")
    return (_HAN[tens[-1]] if tens else 1) * 10 + (_HAN[ones[-1]] if ones else 0)


def _ago(today: date, count: int, unit: str) -> Period:
    """So many units before the day (after it, when negative)."""
    if unit == "day":
        return _one(today - timedelta(days=count))
    if unit == "week":
        return _around(today - timedelta(weeks=count), 1)
    if unit == "month":
        return _of_month(_shifted(today, -count))
    return _of_year(today.year - count)


def _around(day: date, reach: int) -> Period:
    return Period(day - timedelta(days=reach), day + timedelta(days=reach))


# -- readers, one a form ----------------------------------------------------------------------------


def _iso(match: re.Match[str], _: date) -> Time:
    return _one(date(int(match[1]), int(match[2]), int(match[3])))


def _full(match: re.Match[str], _: date) -> Time | None:
    """`8 May 2023`, `May 8th, 2023`, `May 8`, `May 2023`, `May`."""
    name = match["month"]
    month = _month_number(name)
    day = match["before"] or match["after"]
    if match["year"]:
        year = int(match["year"])
        return _one(date(year, month, int(day))) if day else _of_month(date(year, month, 1))
    if day:
        date(2024, month, int(day))  # raises for a day that no year has
        return Yearly(month, int(day))
    is_verb = month in (3, 5) and (not name[0].isupper() or match.start() == 0)
    return (
        None
        if is_verb or len(name.rstrip(".")) < 3 or (len(name) < 5 and not name[0].isupper())
        else Yearly(month)
    )


def _year(match: re.Match[str], _: date) -> Time:
    return _of_year(int(match[1]))


def _named_day(match: re.Match[str], today: date) -> Time:
    name = match[0].lower()
    if "before yesterday" in name:
        return _one(today - timedelta(days=2))
    if "after tomorrow" in name:
        return _one(today + timedelta(days=2))
    if "yesterday" in name or "last night" in name:
        return _one(today - timedelta(days=1))
    return _one(today + timedelta(days=1)) if "tomorrow" in name else _one(today)


def _span_ago(match: re.Match[str], today: date) -> Time:
    return _ago(today, _number(match["count"]), match["unit"].lower())


def _ahead(match: re.Match[str], today: date) -> Time:
    return _ago(today, -_number(match["count"]), match["unit"].lower())


def _past(match: re.Match[str], today: date) -> Time:
    """`the past two weeks`: from then up to the day."""
    count = _number(match["count"]) if match["count"] else 1
    return Period(_ago(today, count, match["unit"].lower()).first, today)


def _next_to(match: re.Match[str], today: date) -> Time:
    """`last week`, `this month`, `next year`, `last weekend`, `last Friday`, `last May`, `last summer`."""
    step = {"last": -1, "previous": -1, "this": 0, "next": 1}[match["step"].lower()]
    what = match["what"].lower()
    if what == "week":
        return _of_week(today, step)
    if what == "weekend":
        week = _of_week(today, step)
        return Period(week.last - timedelta(days=1), week.last)
    if what == "month":
        return _of_month(_shifted(today, step))
    if what == "year":
        return _of_year(today.year + step)
    if what in DAYS:
        return _one(_weekday(today, DAYS.index(what), step))
    month = _SEASONS.get(what) or _month_number(what)
    return _nearest_season(today, month, step, 3 if what in _SEASONS else 1)


def _weekday(today: date, weekday: int, step: int) -> date:
    """The weekday before the day, after it, or of its week."""
    distance = weekday - today.weekday()
    if step < 0:
        return today + timedelta(days=distance if distance < 0 else distance - 7)
    return today + timedelta(days=distance + 7 if step and distance <= 0 else distance)


def _nearest_season(today: date, month: int, step: int, months: int) -> Period:
    """The months that begin with `month`: the latest that are over, this year's, or the next to come."""
    year = today.year
    if step < 0 and date(year, month, 1) >= today.replace(day=1):
        year -= 1
    elif step > 0 and date(year, month, 1) <= today:
        year += 1
    first = date(year, month, 1)
    return Period(first, _shifted(first, months) - timedelta(days=1))


def _han_date(match: re.Match[str], _: date) -> Time:
    """2023年5月8日, 2023年5月, 2023年, 5月8日, 5月."""
    year, month, day = match["year"], match["month"], match["day"]
    if year and not month:
        return _of_year(int(year))
    number = _number(month)
    if not 1 <= number <= 12:
        raise ValueError("no such month")
    if year:
        return (
            _one(date(int(year), number, _number(day)))
            if day
            else _of_month(date(int(year), number, 1))
        )
    if day:
        date(2024, number, _number(day))  # raises for a day that no year has
    return Yearly(number, _number(day) if day else None)


def _han_day(match: re.Match[str], today: date) -> Time:
    return _one(
        today + timedelta(days=_HAN_NAMED[match[0][:2] if match[0][0] != "大" else match[0][:3]])
    )


def _han_ago(match: re.Match[str], today: date) -> Time:
    unit = _HAN_UNITS[match["unit"][-1]]
    if match["count"] == "半":
        return _of_month(_shifted(today, -6 if unit == "year" else 0))
    count = _number(match["count"])
    return _ago(today, -count if match["side"] == "后" else count, unit)


def _han_week(match: re.Match[str], today: date) -> Time:
    week = _of_week(
        today, {"上": -len(match["step"]), "下": len(match["step"])}.get(match["step"][0], 0)
    )
    if not match["day"]:
        return week
    if match["day"] == "末":
        return Period(week.last - timedelta(days=1), week.last)
    return _one(week.first + timedelta(days=_HAN_DAYS[match["day"]]))


def _han_month(match: re.Match[str], today: date) -> Time:
    return _of_month(_shifted(today, {"上": -1, "下": 1}.get(match[1], 0)))


def _han_year(match: re.Match[str], today: date) -> Time:
    year = today.year + {"去": -1, "前": -2, "今": 0, "明": 1, "后": 2}[match[1]]
    if not match["month"]:
        return _of_year(year)
    number = _number(match["month"])
    return _of_month(date(year, number, 1))


_HAN_NAMED: Final = {
    "大前天": -3, "前天": -2, "前日": -2, "昨天": -1, "昨日": -1, "昨晚": -1, "昨夜": -1, "今天": 0, "今日": 0,
    "今晚": 0, "今早": 0, "明天": 1, "明日": 1, "明早": 1, "明晚": 1, "后天": 2, "大后天": 3,
}  # fmt: skip
_HAN_UNITS: Final = {
    "天": "day",
    "日": "day",
    "周": "week",
    "期": "week",
    "拜": "week",
    "月": "month",
    "年": "year",
}


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_TH = r"(?:st|nd|rd|th)?"
_YEAR = r"(?:(?:\s+of)?,?\s+(?P<year>(?:19|20)\d\d)(?!\d))?"
_UNIT = r"(?P<unit>day|week|month|year)s?\b"
_CENTURIES: Final = ("19", "20")
_SPANS: Final = (
    "day",
    "week",
    "month",
    "year",
    "spring",
    "summer",
    "autumn",
    "fall",
    "winter",
    *MONTHS,
)
_MONTH_STARTS: Final = tuple(month[:3] for month in MONTHS)
# (letters without which there is none of the form, the form, what it means, whether it is relative to the day). In this
# order: where two readings overlap, the first one counts.
_READERS: Final[tuple[tuple[tuple[str, ...], re.Pattern[str], _Reader, bool], ...]] = (
    (_CENTURIES, _pattern(r"(?<![\d-])(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)"), _iso, False),
    (
        _SPANS,
        _pattern(
            rf"\b(?P<step>last|previous|this|next)\s+(?P<what>week|weekend|month|year|{_DAY}|spring|summer|autumn|fall|winter"
            r"|january|february|march|april|may|june|july|august|september|october|november|december)\b"
        ),
        _next_to,
        True,
    ),
    (
        _MONTH_STARTS,
        _pattern(
            rf"\b(?P<before>\d{{1,2}}){_TH}\s+(?:of\s+)?(?P<month>{_MONTH})(?P<after>(?!))?{_YEAR}"
        ),
        _full,
        False,
    ),
    (
        _MONTH_STARTS,
        _pattern(
            rf"\b(?P<month>{_MONTH})(?P<before>(?!))?(?:\s+(?:the\s+)?(?P<after>\d{{1,2}}){_TH}(?!\d|:\d|\s*[ap]m\b))?{_YEAR}"
        ),
        _full,
        False,
    ),
    (_CENTURIES, _pattern(r"(?<![\w$€£.,/-])((?:19|20)\d\d)(?![\w%/-]|[.,]\d|年)"), _year, False),
    (
        (
            "yesterday",
            "tomorrow",
            "today",
            "tonight",
            "last night",
            "this morning",
            "this afternoon",
            "this evening",
        ),
        _pattern(
            r"\b(?:the\s+day\s+before\s+yesterday|the\s+day\s+after\s+tomorrow|yesterday|tomorrow|today|tonight|last\s+night|"
            r"this\s+(?:morning|afternoon|evening))\b"
        ),
        _named_day,
        True,
    ),
    (
        ("ago", "back", "before now", "earlier"),
        _pattern(
            rf"\b(?:a\s+)?(?P<count>{_NUMBER})(?:\s+of)?\s+{_UNIT}\s+(?:ago|back|before\s+now|earlier)\b"
        ),
        _span_ago,
        True,
    ),
    (
        _SPANS,
        _pattern(rf"\bin\s+(?:a\s+)?(?P<count>{_NUMBER})(?:\s+of)?\s+{_UNIT}(?:\s+time)?"),
        _ahead,
        True,
    ),
    (
        ("the past", "the last"),
        _pattern(rf"\bthe\s+(?:past|last)\s+(?:(?P<count>{_NUMBER})\s+)?{_UNIT}"),
        _past,
        True,
    ),
    (
        ("年",),
        re.compile(r"([去前今明后])年(?:(?P<month>\d{1,2}|[一二三四五六七八九十]{1,2})月份?)?"),
        _han_year,
        True,
    ),
    (
        ("年", "月"),
        _pattern(
            r"(?<!\d)(?:(?P<year>(?:19|20)\d\d)年)?(?P<month>\d{1,2}|[一二三四五六七八九十]{1,2})月(?:份|(?P<day>\d{1,2}|"
            r"[一二三四五六七八九十]{1,3})[日号])?|(?<!\d)(?P<year2>(?:19|20)\d\d)年"
        ),
        lambda match, today: (
            _of_year(int(match["year2"])) if match["year2"] else _han_date(match, today)
        ),
        False,
    ),
    (
        ("天", "日", "昨", "今", "明"),
        re.compile("大前天|大后天|前[天日]|昨[天日晚夜]|今[天日晚早]|明[天日晚早]|后天"),
        _han_day,
        True,
    ),
    (
        ("前", "后"),
        re.compile(
            rf"(?P<count>{_HAN_NUMBER}|半)(?P<unit>天|日|个?星期|个?礼拜|周|个月|年)(?:以|之)?(?P<side>前|后)"
        ),
        _han_ago,
        True,
    ),
    (
        ("周", "星期", "礼拜"),
        re.compile(
            r"(?P<step>上{1,2}|下{1,2}|这|本)个?(?:周|星期|礼拜)(?P<day>[一二三四五六日天末])?"
        ),
        _han_week,
        True,
    ),
    (("月",), re.compile("([上这本下])个?月(?!份?\\d)"), _han_month, True),
)
