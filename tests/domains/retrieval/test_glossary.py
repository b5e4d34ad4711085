"""The glossary: that its files are whole, and which phrases of a question are found in it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import analysis, glossary
from claude_mem.domains.retrieval.glossary import MAX_PHRASES, MAX_WORDS, gloss, phrases

LINES = list(glossary.lines())


def found(text: str) -> dict[str, list[str]]:
    """Phrase -> its translations."""
    return {one.text: [it.text for it in one.translations] for one in phrases(text)}


def test_the_glossary_is_large_and_each_phrase_stands_in_it_once() -> None:
    said = Counter(it for chinese, _, _ in LINES for it in chinese)
    assert len(LINES) > 1_000
    assert [it for it, count in said.items() if count > 1] == []


def test_every_line_of_the_file_is_one_of_the_glossary() -> None:
    assert len(LINES) == len(glossary._read("zh-en.txt"))


def test_chinese_is_chinese_and_english_is_looked_for() -> None:
    for chinese, _, english in LINES:
        assert all(len(it) > 1 and all(map(analysis.is_dense, it)) for it in chinese), chinese
        assert all(it.isascii() and it == it.strip() and it for it in english), english
        assert any(glossary._translation(it).tokens for it in english), english


def test_traditional_characters_are_no_characters_of_the_glossary() -> None:
    used = {it for chinese, _, _ in LINES for phrase in chinese for it in phrase}
    table = glossary.simplified()
    assert len(table) > 300
    assert [chr(it) for it in table if chr(it) in used] == []
    assert [it for it in table.values() if it not in used] == []


@pytest.mark.parametrize(
    ("asked", "translated"),
    [
        ("超时", {"超时": ["timeout", "timed out"]}),
        (
            "为什么端口被占用？",
            {"端口被占用": ["address already in use", "port in use", "EADDRINUSE"]},
        ),
        (
            "构建失败 超时",
            {"构建失败": ["build failed", "build failure"], "超时": ["timeout", "timed out"]},
        ),
        ("跑集成测试", {"集成测试": ["integration test"]}),
        ("roll back the memory leak", {"memory leak": ["内存泄漏"], "roll back": ["回滚"]}),
        ("天气不错", {}),
        ("", {}),
    ],
)
def test_the_longest_phrases_are_taken_and_nothing_within_them(
    asked: str, translated: dict[str, list[str]]
) -> None:
    told = found(asked)
    assert set(told) == set(translated)
    for phrase, first in translated.items():
        assert told[phrase][: len(first)] == first


def test_of_phrases_that_overlap_the_longer_is_taken_wherever_it_begins() -> None:
    # Read from the left, "online" would be taken, and of production an environment be left.
    assert "线上环境" in found("在线上环境")


def test_traditional_characters_are_read_and_looked_for_in_simplified_ones_too() -> None:
    told = found("資料庫逾時")
    assert told["資料庫"] == ["资料库", "database"]
    assert told["逾時"] == ["逾时", "timeout", "timed out"]


def test_a_phrase_knows_its_own_words_as_the_question_is_looked_for_by_them() -> None:
    (one,) = phrases("内存泄漏")
    assert one.own == ("内存", "存泄", "泄漏")
    assert one.translations[0].tokens == ("memori", "leak")


def test_translations_that_are_looked_for_by_the_same_words_are_one() -> None:
    for text in ("测试", "依赖", "test", "logs"):
        for one in phrases(text):
            tokens = [it.tokens for it in one.translations]
            assert len(tokens) == len(set(tokens)), text


def test_what_is_marked_so_is_read_from_chinese_only() -> None:
    assert "用什么命令" in found("用什么命令")
    assert all("用什么命令" not in told for told in found("command").values())


def test_english_is_passed_over_where_nothing_is_remembered_in_chinese() -> None:
    assert phrases("build failed", from_english=False) == ()
    assert [it.text for it in phrases("构建 build", from_english=False)] == ["构建"]


def test_a_long_question_is_bounded() -> None:
    long = "，".join(chinese[0] for chinese, _, _ in LINES)
    told = phrases(long)
    assert 0 < len(told) <= MAX_PHRASES
    words = {word for one in told for it in one.translations for word in it.tokens}
    assert 0 < len(words) <= MAX_WORDS
    assert len(phrases(" and ".join(english[0] for _, _, english in LINES))) <= MAX_PHRASES


@given(st.text(max_size=600))
def test_any_text_is_safe(text: str) -> None:
    for one in phrases(text):
        assert one.translations
    assert 0.0 <= gloss(text).coverage <= 1.0


def test_a_gloss_is_the_question_in_english_as_far_as_it_goes() -> None:
    assert gloss("构建失败 超时") == ("build failed timeout", 1.0)
    assert gloss("为什么 Redis 连接超时？").text == "Redis connection timeout ?"
    assert gloss("why did it fail") == ("why did it fail", 0.0)


def test_coverage_is_of_the_characters_that_say_something() -> None:
    assert gloss("部署的时候用了什么").coverage == 1.0
    assert gloss("梧桐树下的部署").coverage == pytest.approx(2 / 5)
    assert gloss("梧桐").coverage == 0.0


def test_nothing_is_read_before_a_question_needs_it() -> None:
    program = (
        "import claude_mem.cli.main, claude_mem.hook.main, sys\n"
        "assert 'claude_mem.domains.retrieval.glossary' not in sys.modules\n"
        "from claude_mem.domains.retrieval import service, glossary\n"
        "assert not glossary._book.cache_info().currsize\n"
        "glossary.phrases('why did the build fail', from_english=False)\n"
        "assert not glossary._book.cache_info().currsize\n"
        "glossary.phrases('构建')\n"
        "assert glossary._book.cache_info().currsize\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
