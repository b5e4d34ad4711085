"""How much of what happened a summary keeps: facts of the bundled sample, beside simple summaries of the same size.

    python -m bench.summaries [--out FILE]

A fact counts when every word of its `must` is in the summary as shown: title, content and key points. Sessions at even
places in facts.json were looked at while the rules were made (dev); those at odd places were not (held-out). The
baselines take whole lines until they are as large as the summary: the first, the last, and random ones (mean of twenty
draws, fixed seed); once of the whole session (prompts, replies, and what tools were given and gave back, in order),
once of the talk alone (prompts and replies: the sample's sessions talk so little that this is nearly all of it).
Tokens are estimated: four characters of a Latin script, or one of Chinese, are about a token.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.sample import loaded
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.domains.intelligence.digest import digest_of
from claude_mem.domains.intelligence.model import Digest
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import Material
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.database import Tx

ROOT = Path(__file__).parents[1]
FACTS = ROOT / "src/claude_mem/assets/sample/facts.json"
RESULTS = ROOT / "bench/results/summaries.json"
DRAWS = 20
Fact = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A session of the sample with its facts and what was made of it."""

    part: str
    facts: list[Fact]
    lines: list[str]
    talk: list[str]
    digest: Digest
    milliseconds: float


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    cases = read_cases()
    report = {
        part: measure([it for it in cases if it.part == part]) for part in ("dev", "held_out")
    }
    report["all"] = measure(cases)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    held = report["held_out"]["kept"]
    above = all(
        held["summary"] > held[name] for name in ("first_lines", "last_lines", "random_lines")
    )
    return 0 if above and held["summary"] >= 0.75 else 1


def read_cases() -> list[Case]:
    """The sample as a worker took it in, each session with its digest made anew."""
    known = json.loads(FACTS.read_text(encoding="utf-8"))["sessions"]
    scope = local_scope()
    cases = []
    with loaded() as site:
        engine = make_engine(site.home / "claude-mem.db", writer=False)
        with engine.connect() as tx:
            for place, session in enumerate(known):
                own = memory.get_session(scope, tx, session["session_id"])["id"]
                started = time.perf_counter()
                material = memory.session_material(scope, tx, own)
                digest = digest_of(material) if material else None
                took = (time.perf_counter() - started) * 1000
                if material is None or digest is None:
                    raise RuntimeError(f"no digest of {session['source']}")
                part = "held_out" if place % 2 else "dev"
                everything = whole(scope, tx, own)
                cases.append(Case(part, session["facts"], everything, said(material), digest, took))
        engine.dispose()
    return cases


def said(material: Material) -> list[str]:
    """The lines of prompts and replies, in the order they were said."""
    texts = (row["head"] + row["tail"] for row in material.prompts)
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]


def whole(scope: Scope, tx: Tx, session_id: str) -> list[str]:
    """The lines of everything recorded, in order."""
    rows = [
        row
        for table in ("prompts", "observations")
        for row in memory.list_of_session(scope, tx, table, session_id, after=None, limit=10_000)
    ]
    rows.sort(key=lambda row: (row["occurred_at"], row["id"]))
    return [line.strip() for row in rows for line in row["content"].splitlines() if line.strip()]


def shown(digest: Digest) -> str:
    """A summary as it is shown."""
    return "\n".join([digest.title, digest.content, *(it.text for it in digest.key_points)])


def measure(cases: list[Case]) -> dict[str, Any]:
    """Shares of facts kept, and sizes."""
    kept = {"summary": share(cases, lambda case: shown(case.digest))}
    kept |= baselines(cases, "", lambda case: case.lines)
    kept |= baselines(cases, "_of_the_talk", lambda case: case.talk)
    sizes = [tokens(case.digest.title + case.digest.content) for case in cases]
    return {
        "sessions": len(cases),
        "facts": sum(len(case.facts) for case in cases),
        "kept": kept,
        "tokens_a_summary": {"mean": round(statistics.mean(sizes)), "largest": max(sizes)},
        "characters_a_summary": round(statistics.mean(len(case.digest.content) for case in cases)),
        "tokens_a_session": round(statistics.mean(tokens("\n".join(it.lines)) for it in cases)),
        "tokens_of_its_talk": round(statistics.mean(tokens("\n".join(it.talk)) for it in cases)),
        "milliseconds": round(statistics.median(case.milliseconds for case in cases), 1),
    }


def baselines(
    cases: list[Case], suffix: str, lines_of: Callable[[Case], list[str]]
) -> dict[str, float]:
    """What lines of the same size keep: the first, the last, random ones."""
    dice = random.Random(7)

    def drawn(case: Case) -> str:
        lines = lines_of(case)
        return filled(dice.sample(lines, len(lines)), room(case))

    return {
        f"first_lines{suffix}": share(cases, lambda case: filled(lines_of(case), room(case))),
        f"last_lines{suffix}": share(
            cases, lambda case: filled(reversed(lines_of(case)), room(case))
        ),
        f"random_lines{suffix}": round(
            statistics.mean(share(cases, drawn) for _ in range(DRAWS)), 3
        ),
    }


def room(case: Case) -> int:
    """How large a baseline may be: as large as the summary, key points included only where they add words."""
    return len(case.digest.title) + len(case.digest.content)


def filled(lines: Iterable[str], limit: int) -> str:
    """Whole lines up to a size, the last one cut."""
    text = ""
    for line in lines:
        text += line + "\n"
        if len(text) >= limit:
            break
    return text[:limit]


def share(cases: list[Case], way: Callable[[Case], str]) -> float:
    """The share of all facts whose words are all there."""
    hits = total = 0
    for case in cases:
        text = plain(way(case))
        hits += sum(all(plain(word) in text for word in fact["must"]) for fact in case.facts)
        total += len(case.facts)
    return round(hits / total, 3)


def plain(text: str) -> str:
    """As it is compared: one space, one case."""
    return " ".join(text.split()).casefold()


def tokens(text: str) -> int:
    """About how many tokens a text costs."""
    dense = sum(1 for char in text if char >= "\u2e80")
    return dense + (len(text) - dense + 3) // 4


if __name__ == "__main__":
    sys.exit(main())
