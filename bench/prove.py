"""`make prove`: the long proofs. Each leaves its results in bench/results/prove-<name>.json.

    python -m bench.prove [--quick] [kill] [full_disk] [load] [fuzz] [isolation] [chaos]

Ends with 1 when any proof failed; what it saw is in its file all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlean

from bench import chaos, full_disk, fuzz, isolation, kill, sustained
from claude_mem import __version__

RESULTS = Path(__file__).parent / "results"
Say = Callable[[str], None]
Proof = Callable[[bool, int, Say], dict[str, Any]]


def _kill(quick: bool, seed: int, say: Say) -> dict[str, Any]:
    rounds = 20 if quick else 200

    def progress(number: int, victim: str, seconds: float) -> None:
        say(f"round {number}/{rounds}: {victim}, {seconds:.2f} s")

    return kill.run(rounds, seed, progress).as_json()


def _full_disk(quick: bool, seed: int, say: Say) -> dict[str, Any]:
    runs = []
    for number in range(1 if quick else 5):
        runs.append(full_disk.run(3.0 if quick else 10.0, seed + number))
        say(f"run {number + 1}: recovered in {runs[-1]['seconds_to_recover']} s")
    return {"runs": runs, "problems": [problem for one in runs for problem in one["problems"]]}


def _load(quick: bool, seed: int, say: Say) -> dict[str, Any]:
    return asdict(sustained.run(*((5_000, 500) if quick else (100_000, 10_000)), seed, say))


def _fuzz(quick: bool, seed: int, say: Say) -> dict[str, Any]:
    return fuzz.run(1_000 if quick else 10_000, seed, say)


def _isolation(quick: bool, seed: int, say: Say) -> dict[str, Any]:
    return isolation.run(1 if quick else isolation.SCALE, seed, say)


def _chaos(quick: bool, seed: int, say: Say) -> dict[str, Any]:
    return chaos.run(seed, say, quick=quick)


PROOFS: dict[str, Proof] = {
    "kill": _kill,
    "full_disk": _full_disk,
    "load": _load,
    "fuzz": _fuzz,
    "isolation": _isolation,
    "chaos": _chaos,
}


def machine() -> dict[str, Any]:
    """Where a result comes from."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlean.sqlite_version,
        "version": __version__,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def prove(name: str, *, quick: bool, seed: int, say: Say) -> list[str]:
    """One proof and (unless it is a quick one) its file; what is wrong."""
    started = time.monotonic()
    try:
        result = PROOFS[name](quick, seed, say)
    except Exception as error:  # noqa: BLE001 - the other proofs are wanted all the same
        result = {"seed": seed, "problems": [f"{type(error).__name__}: {error}"]}
    problems: list[str] = result["problems"]
    report = {
        "proof": name,
        "passed": not problems,
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine(),
        "result": result,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if quick:
        print(text)
    else:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"prove-{name}.json").write_text(text, encoding="utf-8")
    return problems


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="The long kill, full-disk, load, fuzz, isolation and chaos proofs."
    )
    parser.add_argument("names", nargs="*", metavar="proof", help=", ".join(PROOFS))
    parser.add_argument(
        "--quick", action="store_true", help="scaled down; results are printed, not kept"
    )
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    unknown = set(options.names) - set(PROOFS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PROOFS)}")
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    failed = []
    for name in options.names or PROOFS:
        say = _teller(name)
        say(f"begins, seed {seed}")
        problems = prove(name, quick=options.quick, seed=seed, say=say)
        for problem in problems:
            say(f"PROBLEM: {problem}")
        say("failed" if problems else "passed")
        failed += [name] if problems else []
    return 1 if failed else 0


def _teller(name: str) -> Say:
    """A progress line: written over on a terminal, one after the other elsewhere."""
    lasting = ("begins", "passed", "failed", "PROBLEM")

    def say(text: str) -> None:
        end = "\n" if text.startswith(lasting) or not sys.stdout.isatty() else "\r"
        print(
            f"{name}: {text}\033[K" if sys.stdout.isatty() else f"{name}: {text}",
            end=end,
            flush=True,
        )

    return say


if __name__ == "__main__":
    sys.exit(main())
