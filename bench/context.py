"""What context costs the agent: SessionStart and UserPromptSubmit through the installed hook, at a large store.

    python -m bench.context [--observations N] [--runs N] [--models DIR] [--json]

A worker takes in generated events until they make N observations, and works off its jobs. Then new sessions begin and
are prompted, each event through the installed hook file as the client would start it; a round also starts the bare
interpreter, which no hook can be faster than: `p95_in_interpreters` is the p95 in times of it. Times are those of the
whole process. `given` is the share of answers that carried context: a late one carries none. A prompt comes a moment
after its session began, as from a person who types; "at once" are prompts that follow without one, as a script's do,
while the worker has the beginning to do.

With `--models` (a folder that `claude-mem model install` filled) every prompt is asked for its meaning too, by the real
model; what is remembered has generated vectors then (those of `bench.hybrid`), as the model would take half an hour.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import hybrid, report
from bench.durability import Site
from bench.generate import Generator
from bench.server_vectors import World
from claude_mem.hook.interpreter import choose
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope

TARGETS = {"SessionStart": 150.0, "UserPromptSubmit": 60.0}  # ms, p95
_AT_ONCE = "UserPromptSubmit at once"
_TYPING_S = 0.5
_BATCH = 500
_PER_OBSERVATION = 20 / 18  # events: two of twenty are a prompt and a reply
_PATIENCE = 1_800.0
_VECTORS = 100_000  # different ones; beyond them they come again


def fill(site: Site, generator: Generator, observations: int) -> str:
    """Hand in events and wait until everything is worked off; returns the project they are of."""
    project = ""
    with site.client(timeout=120) as client:
        batch: list[dict[str, Any]] = []
        for event in generator.events(math.ceil(observations * _PER_OBSERVATION)):
            project = event["project"]
            batch.append(event)
            if len(batch) == _BATCH:
                client.post_events(batch)
                batch = []
        if batch:
            client.post_events(batch)
    site.settle(_PATIENCE)
    site.rest(_PATIENCE)
    return project


def fire(
    site: Site, event: str, folder: str, session: str, more: dict[str, Any]
) -> tuple[float, bool]:
    """(milliseconds, whether context came) of one hook process."""
    payload = {
        "session_id": session,
        "transcript_path": "/nowhere/transcript.jsonl",
        "cwd": folder,
        "hook_event_name": event,
        **more,
    }
    begun = time.perf_counter()
    out, complaint = site.hook(event, payload).communicate(timeout=60)
    taken = (time.perf_counter() - begun) * 1000
    if complaint:
        raise RuntimeError(f"the hook of {event} complained: {complaint.decode()}")
    return taken, bool(out)


def bare(python: str) -> float:
    """Milliseconds of an interpreter that does nothing."""
    begun = time.perf_counter()
    subprocess.run([python, "-I", "-S", "-c", "pass"], check=True)
    return (time.perf_counter() - begun) * 1000


def give_meaning(site: Site, models: Path) -> None:
    """Every document its vector while nothing runs, and the model for the questions."""
    site.stop()
    path = site.files.database
    kept = World().vectors(local_scope(), _VECTORS)
    hybrid.Vectors(path, hybrid.model(models), kept, site.home / "vectors").fill()
    (site.home / "models").symlink_to(models.absolute())
    site.start()
    with site.client(timeout=120) as client:
        client.search("the model is loaded with the first question")


def measure(observations: int, runs: int, models: Path | None = None) -> dict[str, Any]:
    """Times by event."""
    generator = Generator(seed=5)
    found: dict[str, list[tuple[float, bool]]] = {name: [] for name in (*TARGETS, _AT_ONCE)}
    interpreter: list[float] = []
    python = choose().path
    with Site(None, log_level="warning") as site:
        site.start()
        folder = fill(site, generator, observations)
        counts = (site.health() or {})["counts"]
        print(f"filled: {counts}", file=sys.stderr, flush=True)
        if models is not None:
            give_meaning(site, models)
        for number in range(runs + 3):  # the first ones warm the caches
            session = new_id()
            start = fire(site, "SessionStart", folder, session, {"source": "startup"})
            asked = {"prompt": generator.text(160), "prompt_id": new_id()}
            name = "UserPromptSubmit" if number % 2 else _AT_ONCE
            if name != _AT_ONCE:
                time.sleep(_TYPING_S)
            prompt = fire(site, "UserPromptSubmit", folder, session, asked)
            time.sleep(_TYPING_S)
            if number >= 3:
                found["SessionStart"].append(start)
                found[name].append(prompt)
                interpreter.append(bare(python))
    return {
        "machine": report.facts(),
        "counts": counts,
        "runs": runs,
        "by_meaning": models is not None,
        "bare_interpreter_p50_ms": round(floor := statistics.median(interpreter), 1),
        **{name: _summary(name, times, floor) for name, times in found.items()},
    }


def _summary(name: str, times: list[tuple[float, bool]], floor: float) -> dict[str, Any]:
    ordered = sorted(taken for taken, _ in times)
    p95 = ordered[max(math.ceil(len(ordered) * 0.95) - 1, 0)]
    return {
        "p50_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(p95, 1),
        "p95_in_interpreters": round(p95 / floor, 1),
        "max_ms": round(ordered[-1], 1),
        "given": round(sum(given for _, given in times) / len(times), 3),
        **(
            {"target_p95_ms": TARGETS[name], "met": p95 <= TARGETS[name]} if name in TARGETS else {}
        ),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="What context costs the agent.")
    parser.add_argument("--observations", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.observations, options.runs, options.models)
    report.write("context", result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
