"""The long form of the proof that tenants are kept apart: tests/security/isolation, many times over, with other dice.

    python -m bench.isolation [--scale 2] [--seed N] [--out FILE]

The suite runs as it is, with more attempts of each kind; what it counted is the result: attempts by kind, leaks found.
SQL, of which an attempt costs a millisecond, is tried twelve times as often as the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "tests" / "security" / "isolation"
ENOUGH = 100_000  # attempts of a long run
SCALE = 2
_OFTENER = {"test_isolation_raw_sql": 12}
_AT_ONCE = 2  # files of the suite: each waits for its servers much of the time
_PATIENCE_S = 3 * 3600


def run(scale: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The suite with `scale` times as many attempts; its numbers, and what is wrong."""
    started = time.monotonic()
    attempts: Counter[str] = Counter()
    leaks: list[str] = []
    problems: list[str] = []
    paths = sorted(SUITE.glob("test_*.py"))
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for path, (counted, failed) in zip(
            paths, threads.map(lambda path: _file(path, scale, seed), paths), strict=True
        ):
            say(f"{path.stem}: {sum(counted['attempts'].values())} attempts")
            attempts.update(counted["attempts"])
            leaks += counted["leaks"]
            problems += failed
    tried = sum(attempts.values())
    if scale >= SCALE and tried < ENOUGH:
        problems.append(f"only {tried} attempts: {ENOUGH} are wanted")
    problems += [f"leak: {leak[:500]}" for leak in leaks[:20]]
    return {
        "seed": seed,
        "scale": scale,
        "attempts": tried,
        "by_kind": dict(sorted(attempts.items())),
        "leaks": len(leaks),
        "seconds": round(time.monotonic() - started, 1),
        "problems": problems,
    }


def _file(path: Path, scale: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """One file of the suite in a process of its own: (what it counted, what failed)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        times = scale * _OFTENER.get(path.stem, 1)
        numbers = {"SCALE": str(times), "SEED": str(seed), "REPORT": str(report)}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-n",
                "0",
                "-q",
                f"--timeout={_PATIENCE_S}",
                str(path),
            ],
            cwd=ROOT,
            env=os.environ | {f"ISOLATION_{name}": value for name, value in numbers.items()},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = report.read_text("utf-8").splitlines() if report.exists() else []
        counted = json.loads(lines[-1]) if lines else {"attempts": {}, "leaks": []}
    failed = [] if done.returncode == 0 else [f"{path.stem} failed: {done.stdout[-2_000:]}"]
    return counted, failed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tries to break the walls between tenants.")
    parser.add_argument("--scale", type=int, default=SCALE)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    result = run(options.scale, seed, lambda text: print(text, flush=True))
    text = json.dumps(result, indent=2) + "\n"
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
