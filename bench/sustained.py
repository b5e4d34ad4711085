"""Sustained load: ingest while searching, minutes long. The worker's memory must not grow, and nothing be lost.

    python -m bench.sustained [--events 100000] [--searches 10000] [--out FILE]

Memory is the worker's resident set, sampled while it works. What a warm-up leaves (caches, the window of known ids, the
engine's page caches) is the base; growth is the median of the last quarter of the samples less that of the first
quarter after the warm-up. A short run has no base to speak of: then only the loss counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles

from bench.audit import close_books
from bench.durability import Ledger, Site, eventually, marker
from bench.traffic import Crew, Worker, event, text
from claude_mem.worker.processes import rss_bytes

_BATCH = 50
_MOST_WAITING = 4_000  # events: a client that outruns the index waits
# The worker remembers 20,000 ids and 32,768 words, and the engine fills its page caches: only then is its memory
# at its level. Every event of this load brings words of its own, so this is reached late, and surely.
_WARM_UP_EVENTS, _WARM_UP_SEARCHES = 60_000, 1_000
_JUDGED_FROM = 50_000  # events
_ALLOWED_MB = 12.0  # the allocator's own unrest; a leak of 100 bytes an event would make as much
_JUNK = "\"*-()“”数据库 AND OR NEAR :^~\\\x00'%_;—🙂"


@dataclass(slots=True)
class Outcome:
    """A run: what was done, how fast beside each other, and the worker's memory in MB."""

    seed: int
    events: int = 0
    searches: int = 0
    seconds: float = 0.0
    events_per_second: float = 0.0
    searches_per_second: float = 0.0
    search_ms_p50: float = 0.0
    search_ms_p99: float = 0.0
    rss_mb_idle: float = 0.0
    rss_mb_warm: float = 0.0
    rss_mb_end: float = 0.0
    rss_mb_growth: float = 0.0
    rss_mb_samples: list[float] = field(default_factory=list)
    losses_or_doubles: int = 0
    problems: list[str] = field(default_factory=list)


class Ingest(Worker):
    """Posts batches as fast as they are answered and indexed."""

    goal = 0
    done = 0

    def __init__(self, site: Site, ledger: Ledger, seed: int) -> None:
        super().__init__(site, ledger, seed)
        self.client = site.client(timeout=60)

    def step(self) -> None:
        """One batch, or a short wait when the goal is reached or too much waits."""
        if self.done >= self.goal:
            self.stopping.wait(0.02)
            return
        words = [marker(self.rng) for _ in range(_BATCH)]
        events = [event(self.rng, word, f"s-{self.done // 500}") for word in words]
        self.client.post_events(events)
        pairs = zip(events, words, strict=True)
        self.ledger.acknowledge((one["id"], word) for one, word in pairs)
        self.done += len(events)
        while self.done % 500 == 0 and not self.stopping.is_set():
            if self.client.health()["checks"]["inbox"]["pending"] < _MOST_WAITING:
                return
            self.stopping.wait(0.1)


class Search(Worker):
    """Searches: words, phrases, junk, pastes."""

    goal = 0
    done = 0

    def __init__(self, site: Site, ledger: Ledger, seed: int) -> None:
        super().__init__(site, ledger, seed)
        self.client = site.client(timeout=60)
        self.took: list[float] = []

    def step(self) -> None:
        """One search, or a short wait when the goal is reached."""
        if self.done >= self.goal:
            self.stopping.wait(0.02)
            return
        started = time.perf_counter()
        self.client.search(self._query(), limit=20)
        self.took.append((time.perf_counter() - started) * 1000)
        self.done += 1

    def _query(self) -> str:
        words = text(self.rng, "retry").split()
        kind = self.rng.random()
        if kind < 0.6:
            return " ".join(self.rng.choices(words, k=self.rng.randint(1, 5)))
        if kind < 0.7:
            return f'"{" ".join(words[:2])}" {words[-1][:4]}*'
        if kind < 0.9:
            return "".join(self.rng.choices(_JUNK, k=30)) + words[0]
        return " ".join(words)[:4_000]


class Sustained:
    """One run on a site of its own."""

    def __init__(self, site: Site, seed: int, say: Callable[[str], None]) -> None:
        self.site = site
        self.say = say
        self.ledger = Ledger()
        self.outcome = Outcome(seed)
        worker = site.start().pid
        assert worker is not None
        self.pid = worker
        self.outcome.rss_mb_idle = self._rss()
        self.ingest = Ingest(site, self.ledger, seed)
        self.search = Search(site, self.ledger, seed + 1)
        self.crew = Crew(self.ingest, self.search)

    def run(self, events: int, searches: int) -> Outcome:
        """Warm up, measure, audit."""
        outcome = self.outcome
        with (
            contextlib.closing(self.ingest.client),
            contextlib.closing(self.search.client),
            self.crew,
        ):
            scale = min(events / 100_000, 1)
            self._until(int(_WARM_UP_EVENTS * scale), int(_WARM_UP_SEARCHES * scale), [])
            self.search.took.clear()
            done, searched, started = self.ingest.done, self.search.done, time.monotonic()
            self._until(done + events, searched + searches, outcome.rss_mb_samples)
            outcome.seconds = round(time.monotonic() - started, 1)
            outcome.events, outcome.searches = self.ingest.done - done, self.search.done - searched
        self._judge()
        return outcome

    def _until(self, events: int, searches: int, samples: list[float]) -> None:
        self.ingest.goal, self.search.goal = events, searches
        told = time.monotonic()
        while self.ingest.done < events or self.search.done < searches:
            self.crew.check()
            samples.append(self._rss())
            if time.monotonic() - told > 10:
                told = time.monotonic()
                self.say(
                    f"{self.ingest.done} events, {self.search.done} searches, {samples[-1]} MB"
                )
            time.sleep(0.5)

    def _rss(self) -> float:
        found = rss_bytes(self.pid)
        assert found is not None, "the worker went away"
        return round(found / 1_048_576, 1)

    def _judge(self) -> None:
        outcome, samples = self.outcome, self.outcome.rss_mb_samples
        quarter = max(len(samples) // 4, 1)
        outcome.rss_mb_warm = round(median(samples[:quarter]), 1)
        outcome.rss_mb_end = round(median(samples[-quarter:]), 1)
        outcome.rss_mb_growth = round(outcome.rss_mb_end - outcome.rss_mb_warm, 1)
        outcome.events_per_second = round(outcome.events / outcome.seconds)
        outcome.searches_per_second = round(outcome.searches / outcome.seconds)
        percentiles = quantiles(self.search.took, n=100)
        outcome.search_ms_p50, outcome.search_ms_p99 = (
            round(percentiles[49], 1),
            round(percentiles[98], 1),
        )
        outcome.rss_mb_samples = samples[:: 1 + len(samples) // 60]  # enough to see the shape
        eventually(lambda: self.site.health() is not None, "the worker")
        found = close_books(self.site, self.ledger, spots=50, patience=300)
        outcome.losses_or_doubles = len(found.problems)
        outcome.problems += found.problems
        if outcome.events >= _JUDGED_FROM and outcome.rss_mb_growth > _ALLOWED_MB:
            outcome.problems.append(f"memory grew by {outcome.rss_mb_growth} MB")


def run(events: int, searches: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """A run in a folder of its own."""
    with Site(log_level="warning") as site:
        return Sustained(site, seed, say).run(events, searches)


def main() -> int:
    """The command line; 1 when something went wrong."""
    parser = argparse.ArgumentParser(description="Ingest while searching, for minutes.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    outcome = run(options.events, options.searches, seed, lambda line: print(line, flush=True))
    report = json.dumps(asdict(outcome))
    print(report)
    if options.out:
        options.out.write_text(report + "\n", encoding="utf-8")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
