"""Measure retrieval: `python -m bench.retrieval --data DIR [--set NAME] [--out FILE] [--models DIR] [--setting k=v]`.

For every question set under DIR a worker of its own is filled and asked over HTTP, with its default settings. Pooled:
every conversation of the set in one store, and a question asked of all of it. Per conversation: the same question asked
of its own project. Beside ours stand plain BM25 over the same texts, and a ranking at random.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.report import facts
from bench.retrieval import scoring
from bench.retrieval.baseline import Bm25
from bench.retrieval.data import Question, QuestionSet, sets
from bench.retrieval.product import Product

_LIMIT = 50  # hits asked for: enough for five sessions
_SHOWN = (
    "any@1",
    "any@5",
    "any@10",
    "all@5",
    "all@10",
    "fraction@5",
    "fraction@10",
    "mrr",
    "ndcg@10",
)
Ranking = list[str]


def measure(data: QuestionSet, models: Path | None, settings: dict[str, str]) -> dict[str, Any]:
    """Everything of one set."""
    with Product(models, **settings) as product:
        filled = product.remember(data.said)
        _say(f"{data.name}: {len(data.said)} remembered in {filled}")
        pooled = _ranked(data.questions, lambda q: product.ask(q.text, _LIMIT))
        latency, product.took = _latency(product.took), []
        own = _ranked(data.questions, lambda q: product.ask(q.text, _LIMIT, q.conversation or None))
        vectors = product.health().get("vectors")
    lexical = _baseline(data)
    session_of = {one.id: one.session for one in data.said}
    per_question = [
        {"qid": q.id, "category": q.category, "rank": _rank(pooled[q.id], q.relevant)}
        for q in data.questions
    ]
    return {
        "data": data.hashes,
        "questions": len(data.questions),
        "pool": len(data.said),
        "sessions": len(set(session_of.values())),
        "vectors": vectors,
        "filled": filled,
        "latency_ms": latency,
        "pooled": _figures(data.questions, pooled, lexical["pooled"], len(data.said)),
        "pooled_sessions": _session_figures(data, pooled, lexical["pooled"], session_of),
        "per_conversation": _figures(data.questions, own, lexical["own"], _own_pool(data)),
        "by_category": _by(data.questions, pooled, lambda q: (q.category,)),
        "by_label": _by(data.questions, pooled, lambda q: q.labels),
        "per_question": per_question,
    }


def _ranked(
    questions: Sequence[Question], ask: Callable[[Question], Ranking]
) -> dict[str, Ranking]:
    found = {}
    for number, question in enumerate(questions, 1):
        found[question.id] = ask(question)
        if number % 200 == 0:
            _say(f"  {number} of {len(questions)} asked")
    return found


def _baseline(data: QuestionSet) -> dict[str, dict[str, Ranking]]:
    index = Bm25([f"{one.title} {one.text}" for one in data.said])
    members: dict[str, set[int]] = {}
    for number, one in enumerate(data.said):
        members.setdefault(one.conversation, set()).add(number)
    only = {name: frozenset(numbers) for name, numbers in members.items()}

    def ids(question: Question, numbers: frozenset[int] | None) -> Ranking:
        return [data.said[at].id for at in index.rank(question.text, _LIMIT, numbers)]

    return {
        "pooled": {q.id: ids(q, None) for q in data.questions},
        "own": {q.id: ids(q, only.get(q.conversation)) for q in data.questions},
    }


def _figures(
    questions: Sequence[Question],
    ours: dict[str, Ranking],
    lexical: dict[str, Ranking],
    pool: int,
) -> dict[str, Any]:
    rows = [scoring.measures(ours[q.id], q.relevant) for q in questions]
    chance = [scoring.at_random(pool, len(q.relevant)) for q in questions]
    return {
        "ours": _round(scoring.mean(rows)),
        "interval_95": {
            name: [round(100 * end, 1) for end in scoring.interval([row[name] for row in rows])]
            for name in ("any@1", "any@5", "any@10")
        },
        "bm25": _round(
            scoring.mean(scoring.measures(lexical[q.id], q.relevant) for q in questions)
        ),
        "random": _round(scoring.mean(chance)),
    }


def _session_figures(
    data: QuestionSet,
    ours: dict[str, Ranking],
    lexical: dict[str, Ranking],
    session_of: dict[str, str],
) -> dict[str, Any]:
    questions = [
        Question(
            q.id, q.text, frozenset(session_of[each] for each in q.relevant), "", q.conversation
        )
        for q in data.questions
    ]
    grouped = [
        {key: scoring.grouped(ranking, session_of) for key, ranking in each.items()}
        for each in (ours, lexical)
    ]
    return _figures(questions, grouped[0], grouped[1], len(set(session_of.values())))


def _own_pool(data: QuestionSet) -> int:
    return len(data.said) // max(len({one.conversation for one in data.said}), 1)


def _by(
    questions: Sequence[Question],
    found: dict[str, Ranking],
    names: Callable[[Question], tuple[str, ...]],
) -> dict[str, dict[str, float]]:
    """The means of the questions of each name."""
    rows: dict[str, list[dict[str, float]]] = {}
    for question in questions:
        for name in names(question):
            row = scoring.measures(found[question.id], question.relevant)
            rows.setdefault(name, []).append(row)
    return {name: _round(scoring.mean(some)) for name, some in rows.items()}


def _rank(ranking: Ranking, relevant: frozenset[str]) -> int | None:
    return next((place for place, each in enumerate(ranking, 1) if each in relevant), None)


def _latency(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        name: round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 2)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def _round(row: dict[str, float]) -> dict[str, float]:
    """Shares in percent; MRR and NDCG too."""
    return {name: round(100 * value, 1) for name, value in row.items()}


def _table(name: str, result: dict[str, Any]) -> str:
    lines = [
        f"{name}: {result['questions']} questions, {result['pool']} texts, {result['sessions']} sessions"
    ]
    lines.append("  " + "".join(f"{head:>12}" for head in ("", *_SHOWN)))
    for part in ("pooled", "pooled_sessions", "per_conversation"):
        for who in ("ours", "bm25", "random"):
            row = result[part][who]
            cells = "".join(f"{row[it]:>12}" if it in row else f"{'':>12}" for it in _SHOWN)
            lines.append(f"  {who + ' ' + part.split('_')[-1][:8]:>12}{cells}")
        lines.append(f"  {'95 %':>12} {result[part]['interval_95']}")
    lines.append(f"  answers: {result['latency_ms']} ms")
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval")
    parser.add_argument("--data", type=Path, required=True, help="a folder of question sets")
    parser.add_argument("--set", default=None, help="only the set of this name")
    parser.add_argument(
        "--models", type=Path, default=None, help="a folder that `model install` filled"
    )
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--out", type=Path, default=Path("bench/results/retrieval.json"))
    parser.add_argument("--json", action="store_true", help="the whole result on standard output")
    options = parser.parse_args()
    settings = dict(each.split("=", 1) for each in options.setting)
    result: dict[str, Any] = {**facts(), "settings": settings, "sets": {}}
    for data in sets(options.data):
        if options.set in (None, data.name):
            began = time.perf_counter()
            result["sets"][data.name] = measure(data, options.models, settings)
            _say(f"{data.name}: {time.perf_counter() - began:.0f} s")
            if not options.json:
                print(_table(data.name, result["sets"][data.name]), flush=True)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text + "\n", encoding="utf-8")
    if options.json:
        print(text)


if __name__ == "__main__":
    main()
