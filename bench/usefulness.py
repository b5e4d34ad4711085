"""Usefulness: for how many follow-up tasks everything needed is in the context, and what simpler ways would have given.

    python -m bench.usefulness [--models DIR] [--half dev] [--show t07] [--json]

A worker takes in the bundled sample. Each of sixty tasks (tasks.json) is then the first prompt of a new session in its
project. `context` is what the API gives for the prompt within a budget; `hooks` is what the installed hooks really put
into the session with default settings: SessionStart, then UserPromptSubmit. Beside them, within the same budgets and
counted by the same estimator: the latest items, search hits in their order, and items at random, whole until full.
`shortest lines` is what one would pick who knew the facts: it shows how little room they need.
`unrelated` are prompts that nothing in the sample bears on (unrelated.txt): how many of them a hook would put memory
before. A task succeeds when every fact that it needs is there (`bench.needs`); `facts` is the mean share of facts.
With `--models` (a folder that `claude-mem model install` filled) prompts are understood by their meaning too, as they
are where `make run` brought the model; without it by their words alone.
Even tasks are there to tune on ("dev"), odd ones to judge by ("held out").
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from bench import report, sample
from bench.durability import Site
from bench.needs import Task, fill, load, plain, says, score
from claude_mem.domains.context.tokens import estimate
from claude_mem.kernel.ids import new_id
from claude_mem.sdk.client import Client

BUDGETS = (700, 1500, 3000)
HOOKS = (
    2000  # what the hooks may use by default: 1,200 at the start of a session and 800 with a prompt
)
Json = dict[str, Any]
UNRELATED = Path(__file__).with_name("unrelated.txt")
_PLACES = {"slotwise": "/home/dev/slotwise", "kilnlog": "/home/dev/kilnlog"}
_METHODS = ("context", "last items", "search until full", "random")
_OURS = ("context", "hooks")
_DRAWS = 20
_HITS = 50
_TRIES = 4


@dataclass(slots=True)
class Outcome:
    """Of one task and one way to a context."""

    success: float  # a share for the random one, which is drawn several times
    facts: float
    tokens: float
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class Table:
    """Outcomes by way ("context 700") and task."""

    tasks: list[Task]
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    silent: dict[str, int] = field(
        default_factory=dict
    )  # hooks that said nothing at first, by event
    unrelated: Json = field(default_factory=dict)

    def enter(self, way: str, task: Task, texts: Sequence[str]) -> None:
        """Score what a way gave for a task; the mean of several."""
        scores = [score(task, text) for text in texts]
        self.outcomes.setdefault(way, {})[task.id] = Outcome(
            success=round(mean(one.success for one in scores), 3),
            facts=round(mean(one.share for one in scores), 3),
            tokens=round(mean(estimate(text) for text in texts)),
            missing=scores[0].missing if len(scores) == 1 else (),
        )

    def summary(self) -> Json:
        """Means by way, over all tasks and parts of them."""
        return {
            way: {
                name: _means([found[task.id] for task in self.tasks if wanted(task)])
                for name, wanted in _PARTS.items()
                if any(wanted(task) for task in self.tasks)
            }
            for way, found in self.outcomes.items()
        }

    def by_task(self) -> Json:
        """What each task got, and what it missed."""
        return {
            task.id: {
                way: _entry(found[task.id], missing=way.startswith(_OURS))
                for way, found in self.outcomes.items()
            }
            for task in self.tasks
        }


_PARTS: dict[str, Callable[[Task], bool]] = {
    "all": lambda _task: True,
    "dev": lambda task: task.half == "dev",
    "held out": lambda task: task.half == "held out",
    "English": lambda task: task.language == "en",
    "Chinese": lambda task: task.language == "zh",
    "changed": lambda task: task.changed,
    "several sessions": lambda task: len(task.sessions) > 1,
}


def _entry(one: Outcome, *, missing: bool) -> Json:
    entry: Json = {"success": one.success, "facts": one.facts, "tokens": one.tokens}
    return entry | {"missing": list(one.missing)} if missing and one.missing else entry


def _means(outcomes: list[Outcome]) -> Json:
    return {
        "tasks": len(outcomes),
        "success": round(mean(one.success for one in outcomes), 3),
        "facts": round(mean(one.facts for one in outcomes), 3),
        "tokens": round(mean(one.tokens for one in outcomes)),
    }


class Ways:
    """The ways to a context, on one site that holds the sample."""

    def __init__(self, site: Site, client: Client) -> None:
        self.site = site
        self.client = client
        self.items = [row for row in sample.rows(site) if row["kind"] in ("prompt", "observation")]
        self.items.sort(key=lambda row: (row["occurred_at"], row["id"]), reverse=True)
        self.texts = {row["id"]: sample.text_of(row) for row in self.items}
        self.silent = {"SessionStart": 0, "UserPromptSubmit": 0}

    def context(self, task: Task, budget: int) -> list[str]:
        """What the API puts together for the prompt."""
        asked = {"project": task.project, "q": task.prompt, "budget": budget}
        answer = self.client.request("GET", "/context", params=asked)
        return [str(answer["text"])]

    def last_items(self, task: Task, budget: int) -> list[str]:
        """The project's newest prompts and observations."""
        return [fill(self._of(task), budget, estimate)]

    def search_until_full(self, task: Task, budget: int) -> list[str]:
        """Everything that search finds for the prompt, best first, whole."""
        found = self.client.search(task.prompt, project=task.project, limit=_HITS)
        ids = [hit["id"] for hit in found["results"]]
        return [fill([self.texts[one] for one in ids if one in self.texts], budget, estimate)]

    def random(self, task: Task, budget: int) -> list[str]:
        """The project's items in no order, several times."""
        rng = random.Random(task.id)
        texts = self._of(task)
        return [fill(rng.sample(texts, len(texts)), budget, estimate) for _ in range(_DRAWS)]

    def shortest_lines(self, task: Task) -> list[str]:
        """For each word that is needed the shortest line that says it: what knowing the answers would cost."""
        lines = {line for text in self._of(task) for line in text.splitlines() if line.strip()}
        cheapest = [
            (line, plain(line)) for line in sorted(lines, key=lambda line: (len(line), line))
        ]
        needed = [ways for fact in task.facts for ways in fact.must]
        found = [
            next((line for line, said in cheapest if any(says(said, way) for way in ways)), "")
            for ways in needed
        ]
        return ["\n".join(dict.fromkeys(found))]

    def _of(self, task: Task) -> list[str]:
        return [self.texts[row["id"]] for row in self.items if row["project"] == task.project]

    def hooks(self, task: Task) -> list[str]:
        """What the installed hooks add to a new session.

        A hook waits a quarter of a second and no longer. On a machine that does other things too an answer may come
        too late; that is counted (`silent`), and the task is tried again: what is measured is what is said.
        """
        best: list[str] = []
        for attempt in range(_TRIES):
            given = self._new_session(task.project, task.prompt)
            if attempt == 0:
                for event, text in given.items():
                    self.silent[event] += not text
            said = [text for text in given.values() if text]
            best = max(best, said, key=len)
            if len(best) == len(given):
                break
        return ["\n\n".join(best)]

    def _new_session(self, project: str, prompt: str) -> dict[str, str]:
        """What each hook says in a session that is forgotten again."""
        session = new_id()
        base = {
            "session_id": session,
            "transcript_path": "/nowhere/transcript.jsonl",
            "cwd": project,
            "permission_mode": "default",
        }
        payloads: dict[str, Json] = {
            "SessionStart": {"source": "startup"},
            "UserPromptSubmit": {"prompt_id": new_id(), "prompt": prompt},
        }
        given = {
            event: self._hook(event, base | own | {"hook_event_name": event})
            for event, own in payloads.items()
        }
        self._forget(session)
        return given

    def _hook(self, event: str, payload: Json) -> str:
        out, complaint = self.site.hook(event, payload).communicate(timeout=60)
        if complaint:
            raise RuntimeError(f"the hook of {event} complained: {complaint.decode()}")
        if not out:
            return ""
        return str(json.loads(out)["hookSpecificOutput"]["additionalContext"])

    def unrelated(self) -> Json:
        """How many prompts that nothing bears on got memory all the same.

        Asked twice: an answer that came too late is not a memory that knew better.
        """
        asked = list(unrelated_prompts())
        false = [
            prompt
            for project, prompt in asked
            if any(self._new_session(project, prompt)["UserPromptSubmit"] for _ in range(2))
        ]
        return {
            "prompts": len(asked),
            "with memory": len(false),
            "rate": round(len(false) / len(asked), 3),
            "which": false,
        }

    def _forget(self, agent_session: str) -> None:
        """The next task must find the memory as this one did."""
        self.site.settle()
        listed = self.client.request("GET", "/sessions", params={"limit": 20})["data"]
        for row in listed:
            if row["agent_session"] == agent_session:
                self.client.forget("session", entity_id=row["id"])
                return
        raise RuntimeError("a session was not recorded")


def unrelated_prompts(path: Path = UNRELATED) -> Iterator[tuple[str, str]]:
    """(project, prompt) of every prompt that nothing in the sample bears on."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            _, project, prompt = line.split(" ", 2)
            yield _PLACES[project], prompt


def run(tasks: list[Task], say: Callable[[str], None], models: Path | None = None) -> Table:
    """Every way for every task."""
    table = Table(tasks)
    with sample.loaded(models) as site, site.client(timeout=60) as client:
        ways = Ways(site, client)
        for number, task in enumerate(tasks, 1):
            for method in _METHODS:
                way = getattr(ways, method.replace(" ", "_"))
                for budget in (*BUDGETS, HOOKS):
                    table.enter(f"{method} {budget}", task, way(task, budget))
            table.enter("hooks", task, ways.hooks(task))
            table.enter("shortest lines", task, ways.shortest_lines(task))
            say(f"{number}/{len(tasks)} {task.id}")
        table.silent = ways.silent
        table.unrelated = ways.unrelated()
    return table


def show(task: Task, budget: int, models: Path | None = None) -> None:
    """The contexts of one task, and what they miss, to read."""
    with sample.loaded(models) as site, site.client(timeout=60) as client:
        ways = Ways(site, client)
        print(f"{task.id} {task.project}\n{task.prompt}\n")
        for name, way in (("context", partial(ways.context, budget=budget)), ("hooks", ways.hooks)):
            (text,) = way(task)
            found = score(task, text)
            print(f"==== {name}: {estimate(text)} tokens, missing {found.missing}\n{text}\n")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Usefulness of the context, in facts.")
    parser.add_argument("--half", choices=("dev", "held out"), help="only this half; nothing kept")
    parser.add_argument("--show", metavar="TASK", help="the contexts of one task; nothing kept")
    parser.add_argument("--budget", type=int, default=1500, help="for --show")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tasks = [task for task in load() if options.half in (None, task.half)]
    if options.show:
        show(
            next(task for task in tasks if task.id == options.show), options.budget, options.models
        )
        return 0
    table = run(tasks, lambda line: print(line, file=sys.stderr, flush=True), options.models)
    summary = table.summary()
    for way, parts in summary.items():
        for name, means in parts.items():
            print(f"{way:24s} {name:18s} {means}", file=sys.stderr)
    print(f"hooks that said nothing at first: {table.silent}", file=sys.stderr)
    print(f"unrelated prompts: {table.unrelated}", file=sys.stderr)
    if options.half is None:
        result: dict[str, Any] = {
            "machine": report.facts(),
            "summary": summary,
            "tasks": table.by_task(),
        }
        result["by_meaning"] = options.models is not None
        result["hooks that said nothing at first"] = table.silent
        result["unrelated prompts"] = table.unrelated
        report.write("usefulness", result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
