"""Speed and memory of reading transcripts, beside bare `json.loads` of the same lines in the same
run.

python -m bench.importing [--megabytes 200] [--json]

The transcript is generated (fixed seed) in the shape of real ones: most of the bytes are tool
results, most of the lines are no messages. Each measurement is a process of its own, so that its
peak of memory is its own. The second size, a tenth of the first, shows that memory does not grow
with the file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from bench.generate import Generator
from bench.report import facts, write
from claude_mem.domains.capture.transcripts import read_transcript
from claude_mem.kernel.clock import to_iso

_SESSION = "00000000-0000-4000-8000-0000000000be"
_RESULT_SIZES = (300, 900, 2_500, 6_000, 400, 18_000)
_T0 = 1_790_000_000_000


def main() -> None:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        how, path = arguments.measure
        sys.stdout.write(json.dumps(_WAYS[how](Path(path))))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.megabytes)
    write("importing", result, as_json=arguments.json)


def measure(folder: Path, megabytes: int) -> dict[str, Any]:
    """Both sizes, read in both ways."""
    rows = []
    for size in (max(megabytes // 10, 1), megabytes):
        path = folder / f"{size}.jsonl"
        made = generate(path, size * 1_000_000)
        bare, read, again = (_apart(how, path) for how in ("bare", "read", "again"))
        rows.append(
            {
                "megabytes": size,
                "lines": made,
                "events": read["events"],
                "events_per_s": round(read["events"] / read["seconds"]),
                "mb_per_s": round(size / read["seconds"], 1),
                "bare_json_mb_per_s": round(size / bare["seconds"], 1),
                "ratio_to_bare_json": round(read["seconds"] / bare["seconds"], 2),
                "peak_rss_mb": round(read["peak_rss_mb"], 1),
                "bare_json_peak_rss_mb": round(bare["peak_rss_mb"], 1),
                "second_reading_ms": round(again["seconds"] * 1000, 2),
            }
        )
        path.unlink()
    return {**facts(), "runs": rows}


def _apart(how: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.importing", "--measure", how, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _bare(path: Path) -> dict[str, Any]:
    started = time.perf_counter()
    with path.open("rb") as file:
        for line in file:
            json.loads(line)
    return _figures(started, 0)


def _read(path: Path) -> dict[str, Any]:
    started = time.perf_counter()
    events = sum(1 for _ in read_transcript(path, settled=True))
    return _figures(started, events)


def _again(path: Path) -> dict[str, Any]:
    """A second import: the file is known to its end."""
    first = read_transcript(path, settled=True)
    events = sum(1 for _ in first)
    started = time.perf_counter()
    assert not list(read_transcript(path, first.position, settled=True))
    return _figures(started, events)


_WAYS = {"bare": _bare, "read": _read, "again": _again}


def _figures(started: float, events: int) -> dict[str, Any]:
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1_000_000 if sys.platform == "darwin" else 1_000  # bytes there, kilobytes here
    return {"seconds": seconds, "events": events, "peak_rss_mb": peak / unit}


def generate(path: Path, size: int) -> int:
    """Write a transcript of about `size` bytes; returns its lines."""
    lines = 0
    written = 0
    with path.open("wb") as file:
        for row in _rows():
            data = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            file.write(data)
            written += len(data)
            lines += 1
            if written >= size and row["type"] == "cost-state":
                return lines
    raise AssertionError("rows never end")


def _rows() -> Iterator[dict[str, Any]]:
    generator = Generator()
    texts = {size: [generator.text(size) for _ in range(40)] for size in (80, 400, *_RESULT_SIZES)}
    number = count()
    for turn in count():
        prompt = f"00000000-0000-4000-8000-{turn:012d}"
        said = {"role": "user", "content": texts[80][turn % 40]}
        yield _line("user", next(number), message=said, promptId=prompt)
        for step in range(8):
            text = texts[400][(turn + step) % 40]
            yield from _step(number, prompt, step, text, texts)
        yield _line(
            "assistant", next(number), message=_message(turn, 9, _text(texts[400][turn % 40]))
        )
        yield {"type": "cost-state", "sessionId": _SESSION, "totalCostUSD": 0.1}


def _step(
    number: Iterator[int], prompt: str, step: int, text: str, texts: dict[int, list[str]]
) -> Iterator[dict[str, Any]]:
    turn = int(prompt[-12:])
    call = f"toolu_{turn}_{step}"
    size = _RESULT_SIZES[(turn + step) % len(_RESULT_SIZES)]
    output = texts[size][turn % 40]
    use = {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": text[:80]}}
    yield _line("assistant", next(number), message=_message(turn, step, _text(text)))
    yield _line("assistant", next(number), message=_message(turn, step, use))
    block = {"type": "tool_result", "tool_use_id": call, "content": output, "is_error": False}
    result = {"stdout": output, "stderr": "", "interrupted": False, "isImage": False}
    said = {"role": "user", "content": [block]}
    yield _line("user", next(number), message=said, promptId=prompt, toolUseResult=result)
    yield _line("attachment", next(number), attachment={"type": "hook_success", "content": text})
    for kind in ("last-prompt", "api-request-blob", "api-request"):
        yield {"type": kind, "sessionId": _SESSION}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _message(turn: int, step: int, block: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 120, "cache_read_input_tokens": 14_000}
    return {
        "id": f"msg_{turn}_{step}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [block],
        "stop_reason": "end_turn" if step == 9 else "tool_use",
        "usage": usage,
    }


def _line(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    return fields | {
        "type": kind,
        "uuid": f"{number:08x}-0000-4000-8000-000000000000",
        "parentUuid": None,
        "isSidechain": False,
        "timestamp": to_iso(_T0 + number * 900),
        "sessionId": _SESSION,
        "cwd": "/home/dev/project",
        "gitBranch": "main",
        "version": "2.1.329",
        "userType": "external",
    }


if __name__ == "__main__":
    main()
