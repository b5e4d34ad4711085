"""What a translation counts beside the words that were asked."""

from __future__ import annotations

import pytest

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.glossary import Phrase, Translation, phrases
from claude_mem.domains.retrieval.ranking import PLAIN, CorpusStatistics, Field, Scorer, Texts
from claude_mem.domains.retrieval.terms import EMPTY, pack
from claude_mem.domains.retrieval.translating import (
    FROM_ENGLISH,
    TRUST,
    TranslatingScorer,
    joined,
    plan_of,
    scorer,
    words_of,
)
from claude_mem.ports.lexical import Candidates, LexicalPlan

STATISTICS = CorpusStatistics(documents=1_000, average_title=4.0, average_body=4.0)
PLAN = LexicalPlan(("超时",), (), (), (), 1_000, 1, 1_000, shared=False, limit=150)


def document(text: str) -> tuple[Field, Field]:
    made = analysis.document(text)
    return Field(EMPTY, 0), Field(pack(made.stored), made.length)


def written(text: str) -> Texts:
    title, body = document(text)
    return Texts(*title, *body)


def found(frequencies: dict[str, int], *numbers: int, estimate: bool = False) -> Candidates:
    return Candidates(numbers, frequencies, len(numbers), estimate)


def made(question: str, own: dict[str, int], translated: dict[str, int]) -> TranslatingScorer:
    it = scorer(STATISTICS, found(own), [found(translated)], phrases(question), PLAIN)
    assert isinstance(it, TranslatingScorer)
    return it


def relevances(judge: TranslatingScorer, *texts: str) -> list[float]:
    return judge.judged(judge.read([written(text) for text in texts])).relevances


def test_the_asked_words_count_more_than_their_translation() -> None:
    judge = made("超时", {"超时": 5}, {"timeout": 5, "time": 300})
    asked, translated, neither = relevances(judge, "连接超时啊", "timeout aa bb cc", "aa bb cc dd")
    assert asked > translated > neither == 0.0


def test_a_rare_translation_counts_no_more_than_a_common_word_of_the_question() -> None:
    judge = made("超时", {"超时": 900}, {"timeout": 1})
    asked, translated = relevances(judge, "超时 aa bb cc", "timeout aa bb cc")
    assert asked > translated > 0.0


def test_a_translation_counts_by_its_frequency_in_the_index() -> None:
    rare = made("超时 部署", {"超时": 0, "部署": 0}, {"timeout": 2, "deploy": 800})
    timeout, deploy = relevances(rare, "timeout aa bb cc", "deploy aa bb cc")
    assert timeout > 5 * deploy > 0.0


def test_a_group_counts_once_whatever_a_text_has_of_it() -> None:
    judge = made("回滚", {"回滚": 0}, {"rollback": 9, "roll": 9, "revert": 9})
    one, all_of_them = relevances(judge, "rollback aa bb cc", "rollback revert roll back")
    assert one == pytest.approx(all_of_them)


def test_the_asked_words_beside_a_translation_gain_nothing() -> None:
    judge = made("超时", {"超时": 5, "无关": 1}, {"timeout": 5})
    one, both = relevances(judge, "超时 aa bb", "超时 timeout bb")
    assert one == pytest.approx(both)


def test_of_a_translation_of_several_words_one_alone_is_little() -> None:
    judge = made("内存泄漏", {"内存": 0}, {"memori": 20, "leak": 20})
    whole, half = relevances(judge, "memory leak aa bb", "memory aa bb cc")
    assert half < whole / 3


def test_translations_alone_stay_below_a_text_with_all_that_was_asked_and_keep_their_order() -> (
    None
):
    judge = made("超时 部署", {"超时": 5, "部署": 5}, {"timeout": 5, "deploy": 5})
    long = "超时 部署 " + "aa " * 60
    texts = (long, "timeout deploy", "timeout deploy aa", "deploy aa bb")
    asked, *translated = relevances(judge, *texts)
    assert asked > translated[0] > translated[1] > translated[2] > 0.0


def test_where_nobody_has_the_words_a_translation_scores_its_trust_of_what_a_word_would() -> None:
    text = "timeout aa bb cc"
    (found,) = relevances(made("超时", {"超时": 0}, {"timeout": 5}), text)
    assert found == pytest.approx(
        TRUST * Scorer(STATISTICS, {"timeout": 5}).relevance(*document(text))
    )
    text = "超时 aa bb cc"
    (found,) = relevances(made("timeout", {"timeout": 0}, {"超时": 5}), text)
    assert found == pytest.approx(
        FROM_ENGLISH * Scorer(STATISTICS, {"超时": 5}).relevance(*document(text))
    )


def test_a_translation_that_was_asked_too_counts_as_a_word() -> None:
    own = {"timeout": 5, "超时": 5}
    it = scorer(
        STATISTICS, found(own), [found({"timeout": 5, "time": 0})], phrases("timeout 超时"), PLAIN
    )
    plain = Scorer(STATISTICS, own)
    (score,) = it.judged(it.read([written("timeout aa")])).relevances
    assert score == pytest.approx(plain.relevance(*document("timeout aa")))


def test_where_nothing_has_a_translation_the_words_alone_are_scored() -> None:
    own = found({"超时": 5})
    assert isinstance(scorer(STATISTICS, own, [], phrases("超时"), PLAIN), Scorer)
    nobody = [found({"timeout": 0, "time": 0})]
    assert isinstance(scorer(STATISTICS, own, nobody, phrases("超时"), PLAIN), Scorer)


def test_the_less_is_said_as_it_was_asked_the_more_translations_are_needed() -> None:
    judge = made("超时 部署", {"超时": 5, "部署": 5}, {"timeout": 5, "deploy": 5})
    assert judge.judged(judge.read([written("timeout deploy")])).need == 1.0
    assert judge.judged(judge.read([written("超时 timeout")])).need == pytest.approx(0.5)
    assert judge.judged(judge.read([written("超时 部署")])).need == pytest.approx(0.0)
    heard = judge.judged(judge.read([written("timeout aa"), written("aa")])).heard
    assert [[phrase for phrase, _ in it] for it in heard] == [["超时"], []]


def test_the_reason_names_the_phrase_and_what_was_found() -> None:
    judge = made("超时 部署", {"超时": 0, "部署": 5}, {"timeout": 5, "deploy": 5})
    score = judge.explain(*document("timeout 部署"))
    assert [(it.phrase, it.translation, it.words) for it in score.translated] == [
        ("超时", "timeout", ("timeout",))
    ]
    assert score.translated[0].share > 0
    assert [word for word, _ in score.parts] == ["部署"]
    assert set(score.in_body) == {"部署", "timeout"}


def test_what_is_looked_for_besides_is_bounded_and_not_what_was_asked() -> None:
    plan = plan_of(PLAN, phrases("超时"))
    assert plan is not None
    assert plan.words[0] == "timeout"
    assert "超时" not in plan.words
    assert plan.limit <= PLAN.limit
    assert plan_of(PLAN, ()) is None
    same = Phrase("a", (), (Translation("b", ("超时",)),))
    assert plan_of(PLAN, (same,)) is None
    assert words_of(phrases("超时 逾时")) == words_of(phrases("超时"))


def test_what_both_find_is_counted_once() -> None:
    first, second = found({"a": 2}, 1, 2), found({"b": 2, "a": 9}, 2, 3)
    both = joined(first, second)
    assert both == Candidates((1, 2, 3), {"a": 2, "b": 2}, 3, total_is_estimate=False)
    assert joined(first) is first
    assert joined(first, found({"b": 2}, 3, estimate=True)).total_is_estimate
