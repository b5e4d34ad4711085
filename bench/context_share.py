"""Is the evidence in the context? `python -m bench.context_share --data DIR [--budget 700] [--set NAME]`.

Of every set of things said under DIR a worker is filled as `python -m bench.retrieval` does, and every question asked
over HTTP of its own project (a context is always of one): once for a context within the budget, once as a search whose
hits' full texts are taken, the best first, until the budget is full. Two fillings of the latter: `top_k` ends at the
first text that finds no room, `top_k_cut` cuts that one where the room ends. Both are the bare texts, nothing around
them; the context's budget holds its frame, headings and ids as well. Tokens are the product's own estimate.

What counts as shown: see `bench.retrieval.evidence`. `any`/`all`: of the question's relevant texts; `half`/`whole`: at
least half, or 95 %, of a text's words. `named`: an id of one is among the items that the context names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import report
from bench.retrieval import scoring
from bench.retrieval.data import Question, QuestionSet, sets
from bench.retrieval.evidence import outcome, share, until_full
from bench.retrieval.product import Product
from claude_mem.domains.context.tokens import estimate

_LIMIT = 50
_SHOWN = ("any_half", "all_half", "any_whole", "all_whole", "shown")
Row = dict[str, float]


def measure(product: Product, data: QuestionSet, budget: int) -> dict[str, Any]:
    """All questions of a set that `product` remembers."""
    texts = {one.id: one.text for one in data.said}
    ways: dict[str, list[Row]] = {"context": [], "top_k": [], "top_k_cut": []}
    per_question: list[dict[str, Any]] = []
    for number, question in enumerate(data.questions, 1):
        answer = product.context(question.text, budget, question.conversation)
        found = product.hits(question.text, _LIMIT, question.conversation)
        ranked = [texts[each] for each in found.values()]
        whole = until_full(ranked, map(estimate, ranked), budget)
        shown = {
            "context": answer["text"],
            "top_k": "\n".join(whole),
            "top_k_cut": cut("\n".join(ranked), estimate, budget),
        }
        wanted = [texts[each] for each in sorted(question.relevant)]
        rows = {way: outcome([share(one, text) for one in wanted]) for way, text in shown.items()}
        named = question.relevant & {found.get(item["id"], "") for item in answer["items"]}
        rows["context"]["named"] = float(bool(named))
        rows["context"]["tokens"] = float(answer["tokens"])
        for way, row in rows.items():
            ways[way].append(row)
        per_question.append(_short(question, rows))
        if number % 200 == 0:
            print(f"  {number} of {len(data.questions)} asked", file=sys.stderr, flush=True)
    return {
        "data": data.hashes,
        "questions": len(data.questions),
        "texts": len(data.said),
        "projects": len({one.conversation for one in data.said}),
        **{way: _summary(rows) for way, rows in ways.items()},
        "difference": _difference(ways),
        "per_question": per_question,
    }


def cut(text: str, cost: Callable[[str], int], budget: int) -> str:
    """The longest beginning of a text, in words, that costs no more than the budget."""
    if cost(text) <= budget:
        return text
    ends = [at for at, sign in enumerate(text) if sign.isspace()]
    low, high = 0, len(ends)  # ends[:low] are known to fit
    while low < high:
        middle = (low + high) // 2
        if cost(text[: ends[middle]]) <= budget:
            low = middle + 1
        else:
            high = middle
    return text[: ends[low - 1]] if low else ""


def _short(question: Question, rows: dict[str, Row]) -> dict[str, Any]:
    """By way, the letters of what was shown: any/all half, any/all whole."""
    marks = {
        way: "".join("x" if row[it] else "." for it in _SHOWN[:4]) for way, row in rows.items()
    }
    return {"qid": question.id, "category": question.category, **marks}


def _summary(rows: list[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name == "tokens":
            found["tokens"] = {"mean": round(fmean(values)), "most": round(max(values))}
            continue
        low, high = scoring.interval(values)
        found[name] = {
            "percent": round(100 * fmean(values), 1),
            "interval_95": [round(100 * low, 1), round(100 * high, 1)],
        }
    return found


def _difference(ways: dict[str, list[Row]]) -> dict[str, Any]:
    """Context less each way of top-k, question by question, with its interval: the intervals of both overlap sooner."""
    found: dict[str, Any] = {}
    for way in ("top_k", "top_k_cut"):
        rows = [
            {name: ours[name] - theirs[name] for name in _SHOWN}
            for ours, theirs in zip(ways["context"], ways[way], strict=True)
        ]
        found[way] = _summary(rows)
    return found


def _table(name: str, result: dict[str, Any]) -> str:
    lines = [f"{name}: {result['questions']} questions, {result['texts']} texts"]
    lines.append("  " + "".join(f"{head:>22}" for head in ("", *_SHOWN)))
    parts = {way: result[way] for way in ("context", "top_k", "top_k_cut")}
    parts |= {f"less {way}": row for way, row in result["difference"].items()}
    for way, row in parts.items():
        cells = (
            f"{row[it]['percent']} {row[it]['interval_95'][0]}..{row[it]['interval_95'][1]}"
            for it in _SHOWN
        )
        lines.append("  " + "".join(f"{cell:>22}" for cell in (way, *cells)))
    tokens = result["context"]["tokens"]
    lines.append(f"  named {result['context']['named']['percent']} %, tokens {tokens}")
    return "\n".join(lines)


def main() -> int:
    """Measure, print tables, keep JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.context_share")
    parser.add_argument("--data", type=Path, required=True, help="a folder of question sets")
    parser.add_argument("--set", action="append", help="only the sets of these names")
    parser.add_argument("--budget", type=int, default=700, help="tokens")
    parser.add_argument("--models", type=Path, default=None, help="what `model install` filled")
    parser.add_argument("--json", action="store_true", help="the whole result on standard output")
    options = parser.parse_args()
    result: dict[str, Any] = {**report.facts(), "budget": options.budget, "sets": {}}
    for data in sets(options.data):
        if options.set is not None and data.name not in options.set:
            continue
        with Product(options.models) as product:
            filled = product.remember(data.said)
            print(f"{data.name}: remembered in {filled}", file=sys.stderr, flush=True)
            found = measure(product, data, options.budget)
        result["sets"][data.name] = found
        if not options.json:
            print(_table(data.name, found), flush=True)
    report.keep("context-share", result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
