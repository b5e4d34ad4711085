"""What the usefulness benchmark reports: means by way and part, of contexts that keep to their budgets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bench import sample
from bench.needs import Fact, Task, load, score
from bench.usefulness import BUDGETS, HOOKS, Table, Ways

from claude_mem.domains.context.model import Options
from claude_mem.domains.context.tokens import estimate

TASKS = load()


def task(name: str, half: str = "dev", language: str = "en") -> Task:
    facts = (Fact("one", (("alpha",),)), Fact("two", (("beta",),)))
    return Task(name, half, language, "/p", False, ("s",), "?", facts)


def test_a_table_means_over_all_tasks_and_over_parts() -> None:
    table = Table([task("t01", "held out"), task("t02"), task("t03", "held out", "zh")])
    for one, text in zip(table.tasks, ("alpha beta", "alpha", ""), strict=True):
        table.enter("context 700", one, [text])
    means = table.summary()["context 700"]
    assert means["all"]["tasks"] == 3
    assert means["all"]["success"] == pytest.approx(1 / 3, abs=0.001)
    assert means["all"]["facts"] == 0.5
    assert means["dev"] == {"tasks": 1, "success": 0, "facts": 0.5, "tokens": estimate("alpha")}
    assert means["Chinese"]["facts"] == 0
    assert "changed" not in means
    assert table.by_task()["t02"]["context 700"]["missing"] == ["two"]
    assert "missing" not in table.by_task()["t01"]["context 700"]


def test_a_way_that_is_drawn_several_times_counts_as_its_mean() -> None:
    table = Table([task("t01")])
    table.enter("drawn", table.tasks[0], ["alpha beta", "alpha", "", ""])
    found = table.outcomes["drawn"]["t01"]
    assert (found.success, found.facts) == (0.25, 0.375)


def test_the_baselines_may_use_what_the_hooks_may() -> None:
    default = Options()
    assert default.budget + default.prompt_budget == HOOKS


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    with sample.loaded() as site, site.client() as client:
        yield Ways(site, client)


@pytest.mark.slow
def test_every_way_keeps_to_its_budget(ways: Ways) -> None:
    for one in TASKS[3::12]:
        for budget in BUDGETS:
            for way in (ways.context, ways.last_items, ways.search_until_full, ways.random):
                for text in way(one, budget):
                    assert estimate(text) <= budget, (one.id, way.__name__)
        (given,) = ways.hooks(one)
        assert estimate(given) <= HOOKS


@pytest.mark.slow
def test_what_is_needed_fits_into_the_smallest_budget(ways: Ways) -> None:
    for one in TASKS:
        (text,) = ways.shortest_lines(one)
        assert score(one, text).success, one.id
        assert estimate(text) <= min(BUDGETS), one.id


@pytest.mark.slow
def test_the_hooks_leave_the_memory_as_it_was(ways: Ways) -> None:
    before = sample.rows(ways.site)
    ways.hooks(TASKS[1])
    ways.hooks(TASKS[3])
    assert sample.rows(ways.site) == before


@pytest.mark.slow
def test_the_latest_items_are_the_latest_of_the_project(ways: Ways) -> None:
    (one,) = [one for one in TASKS if one.id == "t33"]
    (text,) = ways.last_items(one, 100_000)
    newest = [row for row in ways.items if row["project"] == one.project]
    assert newest == sorted(newest, key=lambda row: row["occurred_at"], reverse=True)
    assert text.startswith(ways.texts[newest[0]["id"]])
    assert score(one, text).success
    assert len(ways.random(one, 700)) > 1
