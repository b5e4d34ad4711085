"""The follow-up tasks are fair, and the scorer says what it is taken to say."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from bench import sample
from bench.needs import Fact, Task, fill, knows, load, plain, says, score

TASKS = load()


def words(text: str) -> int:
    return len(text.split())


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[sample.Row]]:
    """What the worker holds of the sample, by the agent's session."""
    found: dict[str, list[sample.Row]] = defaultdict(list)
    with sample.loaded() as site:
        for row in sample.rows(site):
            if row["kind"] in ("prompt", "observation", "code_change"):
                found[row["agent_session"]].append(row)
    return found


@pytest.mark.slow
def test_every_needed_fact_was_recorded_in_the_project_of_its_task(
    recorded: dict[str, list[sample.Row]],
) -> None:
    lost = []
    for task in TASKS:
        rows = [row for session in task.sessions for row in recorded[session]]
        assert {row["project"] for row in rows} == {task.project}, task.id
        texts = [plain(sample.text_of(row)) for row in rows]
        ways = [(fact, way) for fact in task.facts for ways in fact.must for way in ways]
        lost += [
            (task.id, fact.text, way)
            for fact, way in ways
            if not any(says(text, way) for text in texts)
        ]
        assert score(task, "\n".join(sample.text_of(row) for row in rows)).success, task.id
    assert lost == []


@pytest.mark.slow
def test_every_session_named_gives_something(recorded: dict[str, list[sample.Row]]) -> None:
    for task in TASKS:
        for session in task.sessions:
            text = plain("\n".join(sample.text_of(row) for row in recorded[session]))
            parts = [ways for fact in task.facts for ways in fact.must]
            assert any(any(says(text, way) for way in ways) for ways in parts), (task.id, session)


@pytest.mark.slow
def test_what_holds_more_facts_first_is_never_worse_for_more_room(
    recorded: dict[str, list[sample.Row]],
) -> None:
    for task in TASKS[::6]:
        texts = [sample.text_of(row) for session in task.sessions for row in recorded[session]]
        best = sorted(texts, key=lambda text: score(task, text).share, reverse=True)
        shares = [
            score(task, fill(best, budget, words)).share for budget in (0, 50, 500, 5_000, 50_000)
        ]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] == 1


def test_sixty_tasks_in_the_languages_and_projects_of_the_sample() -> None:
    assert len(TASKS) == 60
    assert Counter(task.half for task in TASKS) == {"dev": 30, "held out": 30}
    assert Counter(task.language for task in TASKS) == {"en": 38, "zh": 22}
    assert len({task.prompt for task in TASKS}) == 60
    assert all(1 <= len(task.facts) <= 4 for task in TASKS)
    assert len({session for task in TASKS for session in task.sessions}) == 16
    for half in ("dev", "held out"):
        there = [task for task in TASKS if task.half == half]
        assert sum(task.changed for task in there) == 3
        assert {task.project for task in there} == {"/home/dev/slotwise", "/home/dev/kilnlog"}
        assert sum(task.language == "zh" for task in there) >= 10
        assert sum(len(task.sessions) > 1 for task in there) >= 5


def test_no_prompt_gives_its_facts_away() -> None:
    for task in TASKS:
        found = score(task, task.prompt)
        assert found.share == 0, (task.id, found)
        given = [w for fact in task.facts for ways in fact.must for w in ways]
        assert [way for way in given if says(plain(task.prompt), way)] == [], task.id


def test_an_empty_context_knows_nothing() -> None:
    for task in TASKS:
        assert score(task, "").share == 0
        assert not score(task, "").success


def test_the_words_of_its_facts_are_enough_for_a_task_and_one_less_is_not() -> None:
    for task in TASKS:
        spoken = [[ways[-1] for ways in fact.must] for fact in task.facts]
        assert score(task, " … ".join(word for one in spoken for word in one)).success
        less = replace(task, facts=(*task.facts, Fact("?", (("nowhere to be found",),))))
        found = score(less, " … ".join(word for one in spoken for word in one))
        assert not found.success
        assert found.missing == ("?",)
        assert found.share == pytest.approx(len(task.facts) / (len(task.facts) + 1))


@pytest.mark.parametrize(
    ("text", "way", "there"),
    [
        ("answers 404 to others", "404", True),
        ("commit 4047abc", "404", False),
        ("`staleTime` 60 s, one\n month", "staleTime 60 s", True),
        ("**A Redis lock** per class", "redis lock", True),
        ("seats_taken_old", "seats_taken", True),
        ("the pooler is PgBouncerX", "PgBouncer", False),
        ("半分向下取整，由客人承担", "向下取整", True),
        ("runs at 1.150", "1.15", False),
    ],
)
def test_words_are_found_whole_and_without_marks(text: str, way: str, there: bool) -> None:
    assert says(plain(text), way) is there


def test_a_fact_is_known_by_any_of_its_ways_and_only_with_all_its_words() -> None:
    fact = Fact("who and when", (("Camille",), ("30 November", "2026-11-30")))
    assert knows(plain("Camille, until 2026-11-30"), fact)
    assert knows(plain("30 november: camille"), fact)
    assert not knows(plain("Camille, some day"), fact)


def test_filling_keeps_to_the_budget_and_cuts_the_last() -> None:
    texts = ["one two three", "four five", "six seven"]
    assert words(fill(texts, 4, words)) == 4
    assert fill(texts, 3, words).split() == ["one", "two", "three"]
    assert fill(texts, 100, words).split() == " ".join(texts).split()
    assert fill(texts, 0, words).strip() == ""


def test_shuffling_loses_what_order_gained() -> None:
    """With room for a tenth, an order by need finds everything and a random one about a tenth."""
    task = Task("t", "dev", "en", "p", False, (), "?", tuple(_fact(n) for n in range(3)))
    noise = [f"noise{n} word word word word" for n in range(97)]
    signal = [f"says needle{n} and three more" for n in range(3)]
    ordered = score(task, fill(signal + noise, 50, words)).share
    rng = random.Random(5)
    shares = []
    for _ in range(400):
        mixed = rng.sample(signal + noise, 100)
        shares.append(score(task, fill(mixed, 50, words)).share)
    assert ordered == 1
    assert sum(shares) / len(shares) == pytest.approx(0.1, abs=0.03)


def _fact(number: int) -> Fact:
    return Fact(str(number), ((f"needle{number}",),))
