"""Rounds of kill -9 at random moments, under load. What was promised must be there exactly once.

    python -m bench.kill [--rounds 20] [--seed N] [--out FILE]

Victims: the worker, its supervisor, a running hook, or worker and supervisor together. The system comes back by itself;
only after the last of these a next SessionStart hook is what starts it again, as it is for a person.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.audit import Audit, close_books, rendered_contexts
from bench.durability import Ledger, Site, eventually
from bench.traffic import Crew, Hooks, Worker, Writer, is_context
from claude_mem.worker.locks import holder

VICTIMS = ("worker", "supervisor", "hook", "both")
_WRITERS, _HOOKS = 3, 2
_SPOT_CHECKS = 40


class Starts(Worker):
    """New sessions, one after the other: each has the worker render a context and keep it in a file."""

    begun = 0

    def step(self) -> None:
        """One SessionStart."""
        name = f"start-{self.rng.getrandbits(40):x}"
        fields = {"session_id": name, "cwd": "/srv/project-0", "source": "startup"}
        process = self.site.hook("SessionStart", fields | {"hook_event_name": "SessionStart"})
        out, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, f"a hook ended with {process.returncode}: {complaint!r}"
        assert out == b"" or is_context(out), f"a hook printed {out!r}"
        self.begun += 1
        self.stopping.wait(self.rng.random())


@dataclass(slots=True)
class Outcome:
    """A run of rounds: `recovery` holds seconds until the system served again, by victim."""

    seed: int
    rounds: int = 0
    recovery: dict[str, list[float]] = field(default_factory=lambda: {v: [] for v in VICTIMS})
    acknowledged: int = 0
    hooks: int = 0
    hooks_killed: int = 0
    hook_notes: list[str] = field(default_factory=list)
    lowest_pending: int = 0
    sessions_begun: int = 0
    contexts_read: int = 0
    torn: list[str] = field(default_factory=list)
    audit: Audit = field(default_factory=Audit)

    @property
    def problems(self) -> list[str]:
        """Everything that should not be."""
        found = list(self.audit.problems)
        if self.audit.unsummarised:
            found.append(f"sessions that nobody summed up: {self.audit.unsummarised}")
        if self.torn:
            found.append(f"rendered contexts that were not whole: {self.torn[:5]}")
        if self.lowest_pending < 0:
            found.append(f"the inbox said that {self.lowest_pending} events wait")
        if self.hook_notes:
            found.append(f"hooks complained: {self.hook_notes[:5]}")
        return found

    def as_json(self) -> dict[str, Any]:
        """For a results file."""
        return {
            "seed": self.seed,
            "rounds": self.rounds,
            "acknowledged_events": self.acknowledged,
            "hooks": self.hooks,
            "hooks_killed": self.hooks_killed,
            "sessions_begun": self.sessions_begun,
            "contexts_read": self.contexts_read,
            "summaries": self.audit.summaries,
            "learnings": self.audit.learnings,
            "promised": self.audit.promised,
            "rows": self.audit.rows,
            "losses_or_doubles": len(self.audit.problems),
            "problems": self.problems,
            "recovery_seconds": {
                victim: {
                    "rounds": len(times),
                    "median": round(median(times), 2),
                    "max": round(max(times), 2),
                }
                for victim, times in self.recovery.items()
                if times
            },
        }


class Rounds:
    """The load and the killing of one site."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.outcome = Outcome(seed)
        self.writers = [Writer(site, self.ledger, seed + 1 + n) for n in range(_WRITERS)]
        self.hooks = [Hooks(site, self.ledger, seed + 100 + n) for n in range(_HOOKS)]
        self.starts = Starts(site, self.ledger, seed + 200)

    def run(self, rounds: int, progress: Callable[[int, str, float], None]) -> Outcome:
        """All rounds, then the audit; the site is stopped at the end."""
        self.site.start()
        with Crew(*self.writers, *self.hooks, self.starts) as crew:
            for number in range(1, rounds + 1):
                victim, seconds = self._round()
                crew.check()
                self.outcome.rounds = number
                progress(number, victim, seconds)
        return self._judge()

    def _round(self) -> tuple[str, float]:
        self._note_pending()
        time.sleep(self.rng.uniform(0.05, 1.0))
        victim = self.rng.choice(VICTIMS)
        started = time.monotonic()
        if victim == "hook":
            self._kill_hook()
        else:
            self._kill_processes(victim)
        self._read_contexts()
        seconds = time.monotonic() - started
        if victim != "hook":  # there is nothing to wait for
            self.outcome.recovery[victim].append(seconds)
        return victim, seconds

    def _kill_hook(self) -> None:
        """Kill whichever hook runs at the moment; its thread goes on with the next one."""
        victims = self.hooks[:]
        self.rng.shuffle(victims)
        time.sleep(self.rng.uniform(0, 0.05))

        def killed() -> bool:
            for hooks in victims:
                process = hooks.running
                # An unreaped child keeps its pid, so the signal can hit nobody else.
                if process is not None and process.poll() is None:
                    process.kill()
                    return True
            return False

        eventually(killed, "a running hook")

    def _kill_processes(self, victim: str) -> None:
        worker = self.site.ready().pid
        supervisor = self.site.supervised()
        assert worker is not None
        targets = {"worker": [worker], "supervisor": [supervisor], "both": [supervisor, worker]}[
            victim
        ]
        for pid in targets:
            os.kill(pid, signal.SIGKILL)
        if self.rng.random() < 0.5:
            self._kill_hook()  # while nobody listens it is on its slow path
        if victim == "both":
            self._next_session()
        if victim != "supervisor":
            self.site.ready(but=worker)
        if victim != "worker":
            self.site.supervised(but=supervisor)

    def _next_session(self) -> None:
        """What a person does next: another session begins."""
        fields = {"session_id": "next", "cwd": "/srv/project-0", "source": "startup"}
        process = self.site.hook("SessionStart", fields | {"hook_event_name": "SessionStart"})
        process.communicate(timeout=60)
        assert process.returncode == 0

    def _note_pending(self) -> None:
        report = self.site.health()
        if report is not None:
            pending = report["checks"]["inbox"]["pending"]
            self.outcome.lowest_pending = min(self.outcome.lowest_pending, pending)

    def _read_contexts(self) -> None:
        """A rendered context is there whole, or not at all, whoever was killed while it was written."""
        contexts, torn = rendered_contexts(self.site)
        self.outcome.contexts_read += contexts
        self.outcome.torn += torn

    def _judge(self) -> Outcome:
        outcome, ledger = self.outcome, self.ledger
        self.site.ready()
        self.site.rest()
        self._note_pending()
        outcome.audit = close_books(self.site, ledger, _SPOT_CHECKS)
        assert holder(self.site.files.worker_lock) is None
        outcome.acknowledged = len(ledger.acknowledged)
        outcome.hooks = sum(hooks.ended for hooks in self.hooks)
        outcome.hooks_killed = sum(hooks.killed for hooks in self.hooks)
        outcome.hook_notes = ledger.notes
        outcome.sessions_begun = self.starts.begun
        return outcome


def run(rounds: int, seed: int, progress: Callable[[int, str, float], None]) -> Outcome:
    """Rounds in a folder of their own."""
    with Site() as site:
        return Rounds(site, seed).run(rounds, progress)


def main() -> int:
    """The command line; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description="Rounds of kill -9 under load.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)

    def show(number: int, victim: str, seconds: float) -> None:
        print(f"round {number}/{options.rounds}: {victim}, back after {seconds:.2f} s", flush=True)

    outcome = run(options.rounds, seed, show)
    report = json.dumps(outcome.as_json(), indent=2)
    print(report)
    if options.out:
        options.out.write_text(report + "\n", encoding="utf-8")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
