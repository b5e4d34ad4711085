"""Short prompts on the bundled sample: what memory bears on opens the door, errands and small talk do not."""

from __future__ import annotations

import pytest
from bench.short import Short, ask_all, read

from claude_mem.domains.context.errands import is_common, subject
from claude_mem.domains.context.interest import evidence
from claude_mem.domains.context.model import Options

PROMPTS = list(read())
# Missed by a door that only counted rare words.
TYPICAL = (
    "why not a redis lock",
    "what is the refund rule",
    "退款规则是什么？",
    "写一个退款的测试",
    "refactor the calendar component into smaller files",
    "refund bug again",
    "which time zone does cron use?",
)


def share(asked: list[tuple[Short, str]], *, related: bool, judges: bool) -> float:
    of_kind = [it for it in asked if bool(it[0].needs) == related and it[0].judges == judges]
    return sum(one.is_met(text) for one, text in of_kind) / len(of_kind)


@pytest.mark.slow
def test_short_prompts_get_what_memory_has_of_them_and_others_nothing() -> None:
    asked = list(ask_all(PROMPTS))
    met = {one.prompt for one, text in asked if one.is_met(text)}
    assert set(TYPICAL) <= met
    assert share(asked, related=True, judges=False) >= 0.94
    assert share(asked, related=False, judges=False) >= 0.98
    assert share(asked, related=True, judges=True) >= 0.9
    assert share(asked, related=False, judges=True) >= 0.86


def test_there_are_many_of_either_kind_in_two_languages() -> None:
    assert set(TYPICAL) <= {one.prompt for one in PROMPTS}
    assert len({one.prompt for one in PROMPTS}) >= 220
    for judges in (False, True):
        for related in (False, True):
            kind = [it for it in PROMPTS if bool(it.needs) == related and it.judges == judges]
            assert len(kind) >= 24
            assert sum(not it.prompt.isascii() for it in kind) >= 8


def test_what_is_to_be_done_is_not_what_a_prompt_is_about() -> None:
    assert set(subject({"fix": 0.5, "voucher": 0.6, "bug": 1.0, "again": 0.8})) == {"voucher"}
    assert subject({"calendarpage": 0.4, "calendar": 0.3, "page": 0.4}) == {"calendarpage": 0.4}
    assert set(subject({"date-fn": 1.0, "date": 0.4, "fn": 0.7})) == {"date", "fn"}


def test_a_pair_of_characters_that_others_explain_is_no_unknown_word() -> None:
    assert set(subject({"退款": 0.5, "款规": 1.0, "规则": 0.5, "则是": 1.0})) == {"退款", "规则"}
    assert subject({"退款": 0.5, "款历": 1.0}) == {"退款": 0.5, "款历": 0.5}
    assert subject({"一步": 0.7}) == {}


def test_a_word_that_is_dwelt_on_is_evidence_and_one_mentioned_is_not() -> None:
    rarity = {"voucher": 0.5, "fix": 0.5}
    assert evidence(rarity, [[("voucher", 0.42)]]) >= Options().threshold
    assert evidence(rarity, [[("voucher", 0.2)]]) < Options().threshold


def test_a_word_of_the_trade_alone_is_about_anything() -> None:
    assert is_common("json")
    assert evidence({"json": 0.5}, [[("json", 0.9)]]) < Options().threshold
    both = {"json": 0.5, "voucher": 0.5}
    assert evidence(both, [[("json", 0.4), ("voucher", 0.4)]]) >= Options().threshold
