"""Speed of masking by size of the event, beside "every rule on every text" in the same run.

    python bench/redact.py [--json] [--out bench/results/redact.json]

The baseline runs the same rules one after another without looking for their cues first, as a list
of patterns would be; ratios compare across machines, microseconds do not. A last table shows that
the time grows with the length on inputs that are made to provoke backtracking.
"""

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from claude_mem.kernel import redact

SIZES = (600, 4_000, 30_000)
ROUNDS = 60
SECRETS = (
    "export DB_PASSWORD=hunter2hunter2",
    "postgres://app:s3cret@db.internal:5432/app",
    "Authorization: Bearer " + "a1B2" * 10,
    "mail alice@example.com, phone 13800138000",
)
PROVOKING = (
    *("a", "9", "1-", "A9+/=", "eyJ", "sk-", "<private>", "a://b:", "password=", 'token="'),
    *(
        "token：",
        "secret：",
        "token是",
        "token：中文",
        "token:a/",
        "token:=",
        "密码为a/",
        'password=\\"',
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    arguments = parser.parse_args()
    result = measure()
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write((text if arguments.json else table(result)) + "\n")


def measure() -> dict[str, object]:
    """All figures: `events` by kind and size, `linearity` by provoking input."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rounds": ROUNDS,
        "events": [
            _event_row(kind, size, dirty)
            for kind in ("code", "log")
            for size in SIZES
            for dirty in (False, True)
        ],
        "linearity": [_linearity_row(run) for run in PROVOKING],
    }


def _event_row(kind: str, size: int, dirty: bool) -> dict[str, object]:
    text = (_code if kind == "code" else _log)(size)
    if dirty:
        half = text.rfind("\n", 0, size // 2)
        text = text[:half] + "\n" + "\n".join(SECRETS) + text[half:]
    event = {
        "session_id": "0193f1a2-7c1d-7abc-8def-0123456789ab",
        "tool": "Bash",
        "input": {"command": "make check", "description": "Run the checks"},
        "response": text[: max(100, size - 150)] if not dirty else text,
    }
    masked = _time(lambda: redact.mask_tree(event))
    every = _time(lambda: _every_rule(event))
    return {
        "kind": kind,
        "bytes": size,
        "dirty": dirty,
        "masked": sum(redact.mask_tree_counted(event)[1].values()),
        "us": round(masked * 1e6, 1),
        "baseline_us": round(every * 1e6, 1),
        "ratio": round(masked / every, 3),
    }


def _linearity_row(run: str) -> dict[str, object]:
    texts = [run * (size // len(run)) for size in (125_000, 1_000_000)]
    small, large = (_time(partial(redact.mask_text, text), rounds=3) for text in texts)
    return {
        "input": run,
        "ms_per_mb": round(large * 1e3, 1),
        "growth_for_8x": round(large / small, 1),
    }


def _every_rule(value: object) -> object:
    """The baseline: each rule, and each provider's pattern, on each string, without a cue."""
    if isinstance(value, dict):
        return {_every_rule(key): _every_rule(child) for key, child in value.items()}
    if not isinstance(value, str):
        return value
    for kind, _cues, source in redact._PROVIDERS:
        value = redact._pattern(source).sub(f"[masked:{kind}]", value)
    for rule in redact._RULES:
        value = rule(value, {})
    return value


def _time(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds for one call: the median of `rounds`."""
    run()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _code(size: int) -> str:
    """Clean source text: a module of the standard library, cut to size at a line."""
    source = Path(json.decoder.__file__).read_text(encoding="utf-8")
    return _cut(source, size)


def _log(size: int) -> str:
    rng = random.Random(7)
    lines = (
        f"2026-01-{n % 28 + 1:02} 19:{n % 60:02}:03,{n % 1000:03} INFO worker.loop[{n * 7}] wrote "
        f"{rng.randrange(10_000)} rows in {rng.random() * 9:.3f} ms, batch {rng.randrange(2**64):x}"
        for n in range(size // 80 + 2)
    )
    return _cut("\n".join(lines), size)


def _cut(text: str, size: int) -> str:
    while len(text) < size:
        text += text
    return text[: text.rfind("\n", 0, size)]


def table(result: dict[str, object]) -> str:
    events = [
        f"{row['kind']:<5}{row['bytes']:>6}  {row['dirty']!s:<5}{row['masked']:>8}"
        f"{row['us']:>9}{row['baseline_us']:>12}{row['ratio']:>7}"
        for row in result["events"]  # type: ignore[attr-defined]
    ]
    runs = [
        f"{row['input']!r:<15}{row['ms_per_mb']:>9}{row['growth_for_8x']:>8}"
        for row in result["linearity"]  # type: ignore[attr-defined]
    ]
    first = "kind  bytes  dirty  masked       us  every rule  ratio"
    return "\n".join([first, *events, "", "input          ms per MB  growth for 8x", *runs])


if __name__ == "__main__":
    main()
