"""Fuzz of what takes strangers' bytes: masking, queries, transcripts, hook payloads, events.

    python -m bench.fuzz [--examples 20000] [--seed N] [--out FILE]

The property tests of the suite run again with a larger profile; transcripts are the bundled sample's, broken at random.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from claude_mem.domains.capture.door import hook_events, parse_payload
from claude_mem.domains.capture.schemas import check_events
from claude_mem.domains.capture.transcripts import Position, read_transcript
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.ids import new_id

ROOT = Path(__file__).parents[1]
SAMPLES = sorted((ROOT / "src/claude_mem/assets/sample/transcripts").rglob("*.jsonl"))
# Files of property tests; only those with `given` in them profit from the profile.
SUITE = (
    "tests/kernel/test_redact.py",
    "tests/domains/retrieval/test_query.py",
    "tests/domains/retrieval/test_analysis.py",
    "tests/domains/retrieval/test_highlight.py",
    "tests/domains/capture/transcripts/test_transcript_resuming.py",
)
_PROFILE = "prove"
_EXAMPLES = "CLAUDE_MEM_FUZZ_EXAMPLES"

if _EXAMPLES in os.environ:  # loaded as a plugin of pytest, see `_suite`
    settings.register_profile(
        _PROFILE,
        max_examples=int(os.environ[_EXAMPLES]),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=6,
)
FIELDS = (
    "prompt_id cwd transcript_path prompt source tool_name tool_input tool_response tool_use_id error "
    "duration_ms mcp_server last_assistant_message agent_id agent_type agent_transcript_path compact_summary trigger"
)
PAYLOADS = st.fixed_dictionaries(
    {"hook_event_name": st.sampled_from(EVENTS) | JSON, "session_id": st.text(max_size=300) | JSON},
    optional={name: JSON | st.text(max_size=2_000) for name in FIELDS.split()},
)
DATA = st.dictionaries(
    st.sampled_from(["content", "tool", "input", "response", "usage", "phase", "agent_id", "tags"]),
    JSON,
    max_size=4,
)
WIRE = st.fixed_dictionaries(
    {
        "id": st.just(new_id()) | SCALARS,
        "type": st.sampled_from(["prompt.submitted", "tool.used", "assistant.replied"]) | SCALARS,
        "occurred_at": st.just("2026-11-20T10:00:00Z") | SCALARS,
        "agent": st.text(min_size=1, max_size=70) | SCALARS,
        "session": st.text(min_size=1, max_size=210) | SCALARS,
        "project": st.text(min_size=1, max_size=80) | SCALARS,
        "data": DATA | JSON,
    }
)


def payloads_become_valid_events_or_are_refused(payload: dict[str, Any]) -> None:
    """A hook payload of any shape."""
    try:
        events = hook_events("claude-code", payload, new_id(), 1_700_000_000_000)
    except Invalid:
        return
    if events:
        check_events(events)


def bytes_are_a_payload_or_are_refused(raw: bytes) -> None:
    """Any bytes on a hook's way in."""
    try:
        parse_payload(raw)
    except Invalid as error:
        if not error.details:
            raise AssertionError("a refusal that does not say why") from error


def events_are_taken_or_refused_with_index_and_field(events: Any) -> None:
    """Any JSON where a batch of events should be."""
    try:
        check_events(events)
    except Invalid as error:
        if not error.details or not all(it.field.startswith("events") for it in error.details):
            raise AssertionError(f"a refusal that does not say where: {error.details}") from error


def a_broken_transcript_is_read(number: int, chaos: int) -> None:
    """A transcript of the sample, broken: whatever is read is valid, and reading on from anywhere adds nothing new.

    Where lines were copied to another place in the file, the second reading may meet a whole copy of what the first
    knew as damaged: then it must be the same at every reading, and that is all.
    """
    rng = random.Random(chaos)
    text = SAMPLES[number % len(SAMPLES)].read_bytes()
    with tempfile.TemporaryDirectory(prefix="cmz-") as folder:
        path = Path(folder) / "broken.jsonl"
        broken, copied = _broken(text, rng)
        path.write_bytes(broken)
        reading = read_transcript(path, settled=True)
        ids, places = [], [Position()]
        for event in reading:
            check_events([event])
            ids.append(event["id"])
            if rng.random() < 0.1:
                places.append(reading.position)
        place = rng.choice(places)
        again = [event["id"] for event in read_transcript(path, place, settled=True)]
        if copied:
            repeated = read_transcript(path, place, settled=True)
            assert again == [event["id"] for event in repeated]
        else:
            assert set(again) <= set(ids)


def _broken(text: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """The text with some lines broken, and whether lines were copied to another place."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.randint(1, 12)):
        at = rng.randrange(len(lines))
        lines[at] = rng.choice(_BREAKS)(lines[at], rng)
    copied = rng.random() < 0.3
    if copied:
        other = rng.randrange(len(lines))
        lines[other:other] = lines[rng.randrange(len(lines)) :][: rng.randint(1, 6)]
    return b"".join(lines), copied


def _strange_field(line: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # broken already
        return line
    value = copy.deepcopy(value)
    here = value
    for _ in range(rng.randint(1, 4)):
        if isinstance(here, list) and here:
            key: Any = rng.randrange(len(here))
        elif isinstance(here, dict) and here:
            key = rng.choice(list(here))
        else:
            break
        if rng.random() < 0.5 or not isinstance(here[key], dict | list):
            junk: tuple[Any, ...] = (
                None,
                0,
                -1.5,
                True,
                "",
                "\ud800",
                [],
                {},
                [[]],
                {"type": 7},
                "x" * 5_000,
                1 << 70,
            )
            here[key] = rng.choice(junk)
            break
        here = here[key]
    return json.dumps(value).encode() + b"\n"


_BREAKS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _strange_field,
    _strange_field,
    _strange_field,
    lambda line, rng: line[: rng.randrange(len(line) + 1)],
    lambda _line, _rng: b"",
    lambda line, _rng: line * 2,
    lambda line, rng: line[: len(line) // 2] + rng.randbytes(8) + line[len(line) // 2 :],
    lambda line, _rng: line.replace(b"\n", b"\r\n"),
    lambda _line, rng: rng.choice((b"null\n", b"[]\n", b'"x"\n', b"{}\n", b"[" * 3_000 + b"\n")),
)

PROPERTIES: dict[Callable[..., None], tuple[st.SearchStrategy[Any], ...]] = {
    payloads_become_valid_events_or_are_refused: (PAYLOADS,),
    bytes_are_a_payload_or_are_refused: (
        st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()),
    ),
    events_are_taken_or_refused_with_index_and_field: (JSON | st.lists(WIRE, max_size=4),),
    a_broken_transcript_is_read: (st.integers(0, 1 << 20), st.integers(0, 1 << 60)),
}


def run(examples: int, number: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it; `problems` holds the falsifying examples."""
    report: dict[str, Any] = {
        "seed": number,
        "examples": examples,
        "properties": {},
        "problems": [],
    }
    for check, strategies in PROPERTIES.items():
        name = check.__name__
        # A transcript is read twice from end to end; the others take microseconds.
        count = examples // 5 if check is a_broken_transcript_is_read else examples
        started = time.monotonic()
        limits = settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        try:
            seed(number)(limits(given(*strategies)(check)))()
        except Exception as error:  # noqa: BLE001 - a falsified property is the result
            notes = "\n".join(getattr(error, "__notes__", []))
            report["problems"].append(f"{name}: {error!r}\n{notes}"[:2_000])
        report["properties"][name] = {
            "examples": count,
            "seconds": round(time.monotonic() - started, 1),
        }
        say(f"{name}: {count} examples")
    _suite(examples, number, report)
    say("the suite's properties with the larger profile")
    return report


def _suite(examples: int, number: int, report: dict[str, Any]) -> None:
    """The property tests of the suite, in a pytest of their own."""
    started = time.monotonic()
    # There are many of them, and some walk long texts: a tenth takes as long as the rest together.
    environment = {**os.environ, _EXAMPLES: str(max(examples // 10, 100))}
    profile = [
        "-p",
        "bench.fuzz",
        f"--hypothesis-profile={_PROFILE}",
        f"--hypothesis-seed={number}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *profile, *SUITE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr[-500:]]
    report["properties"]["suite"] = {
        "examples": int(environment[_EXAMPLES]),
        "seconds": round(time.monotonic() - started, 1),
        "result": last[0].split(" in ")[0],
    }
    if done.returncode != 0:
        report["problems"].append(done.stdout[-3_000:])


def main() -> int:
    """The command line; 1 when a property is false."""
    parser = argparse.ArgumentParser(description="Fuzz what takes strangers' bytes.")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    number = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    report = run(options.examples, number, lambda line: print(line, flush=True))
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
