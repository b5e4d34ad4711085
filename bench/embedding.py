"""The local embedding model: milliseconds a text by its tokens, precision, batch and threads; memory; how near int8 is.

    python -m bench.embedding [--models FOLDER] [--json]

FOLDER holds both precisions (`claude-mem model install --precision both`); by default the one `make test` fills. Each
precision and number of threads has a process of its own, so that memory is only its own. Processor time is the least of
the rounds, the clock's the median: the first says what a text costs, the second what one waits on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.report import facts, write
from claude_mem.adapters.local.memory import release
from claude_mem.adapters.onnx.embedder import OnnxEmbedder
from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.onnx.pinned import PRECISIONS, Precision
from claude_mem.ports.vectors import unpack

_ROUNDS: Final = 9
_SHAPES: Final = (
    (16, 1),
    (16, 8),
    (32, 1),
    (32, 8),
    (64, 1),
    (64, 4),
    (128, 1),
    (128, 2),
    (256, 1),
)
# Each of them is one token.
_WORDS: Final = (
    *("worker", "index", "session", "lock", "again", "table", "error", "query", "cache", "event"),
    *("token", "commit", "branch", "test", "build", "file", "path", "hook", "job", "row"),
)


def text_of(tokens: int, number: int = 0) -> str:
    """A text of exactly so many tokens, with begin and end."""
    return " ".join(_WORDS[(it * 7 + number) % len(_WORDS)] for it in range(tokens - 2))


def sentences() -> list[str]:
    """Texts of many lengths, the like of what is remembered."""
    whole = Path(__file__).with_name("unrelated.txt").read_text(encoding="utf-8").splitlines()
    whole += Path(__file__).with_name("short.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in whole if len(line.split()) >= 4][:120]


def rss_mb() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


async def one(models: Path, precision: Precision, threads: int) -> dict[str, Any]:
    """Figures of one precision, in this process."""
    found: dict[str, Any] = {"rss_before_mb": rss_mb()}
    embedder = OnnxEmbedder(
        ModelFolder(models), precision, threads=threads, rest_s=1.0, released=release
    )
    began = time.perf_counter()
    await embedder.query("the first question loads it")
    found["first_question_ms"] = round((time.perf_counter() - began) * 1000)
    found["rss_loaded_mb"] = rss_mb()
    shapes: dict[str, Any] = {}
    for tokens, count in _SHAPES:
        texts = [text_of(tokens, number) for number in range(count)]
        shapes[f"{count} of {tokens} tokens"] = await cost(embedder, texts)
    found["ms_a_text"] = shapes
    long = [text_of(256, number) for number in range(60)]
    began, used = time.perf_counter(), time.process_time()
    await embedder.documents(long)
    found["backlog_of_256_tokens"] = {
        "texts_a_second": round(len(long) / (time.perf_counter() - began), 1),
        "processor_ms": round((time.process_time() - used) * 1000 / len(long), 2),
    }
    found["rss_after_mb"] = rss_mb()
    found["question_among_documents_ms"] = await among_documents(embedder, long)
    await asyncio.sleep(2.0)
    found["rss_rested_mb"] = rss_mb()
    await embedder.close()
    return found


async def cost(embedder: OnnxEmbedder, texts: list[str]) -> dict[str, float]:
    """Milliseconds a text: of the clock (median) and of the processor (least)."""
    clock, processor = [], []
    for _ in range(_ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        await embedder.documents(texts)
        processor.append((time.process_time() - used) * 1000 / len(texts))
        clock.append((time.perf_counter() - began) * 1000 / len(texts))
    return {"clock": round(statistics.median(clock), 2), "processor": round(min(processor), 2)}


async def among_documents(embedder: OnnxEmbedder, long: list[str]) -> dict[str, float]:
    """How long questions of twelve tokens take while the longest documents are being made."""
    documents = asyncio.create_task(embedder.documents(long))
    await asyncio.sleep(0.1)
    took = []
    for number in range(20):
        began = time.perf_counter()
        await embedder.query(text_of(12, number))
        took.append((time.perf_counter() - began) * 1000)
    await documents
    return {"p50": round(statistics.median(took), 2), "most": round(max(took), 2)}


async def nearness(models: Path) -> dict[str, float]:
    """Cosines of int8 with fp32."""
    made: dict[str, list[bytes]] = {}
    for precision in PRECISIONS:
        embedder = OnnxEmbedder(ModelFolder(models), precision)
        made[precision] = await embedder.documents(sentences())
        await embedder.close()
    cosines = [
        sum(a * b for a, b in zip(unpack(one), unpack(other), strict=True))
        for one, other in zip(made["fp32"], made["int8"], strict=True)
    ]
    return {
        "texts": len(cosines),
        "mean": round(statistics.mean(cosines), 4),
        "least": round(min(cosines), 4),
    }


def apart(models: Path, precision: str, threads: int, *, careful: bool = False) -> dict[str, Any]:
    """The figures of one, from a process of its own."""
    command = [sys.executable, "-m", "bench.embedding", "--models", str(models)]
    done = subprocess.run(
        [*command, "--one", precision, "--threads", str(threads), *["--careful"] * careful],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(sys.prefix) / "models")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=PRECISIONS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--careful", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.careful:
        from claude_mem.adapters.onnx import session  # not before: it loads the libraries

        setattr(session, "adds_up_exactly", lambda: False)  # noqa: B010 - in place of the function
    if given.one:
        print(json.dumps(asyncio.run(one(given.models, given.one, given.threads))))
        return
    result = facts()
    for precision in PRECISIONS:
        for threads in (1, 2):
            name = f"{precision}, {threads} thread{'s' * (threads > 1)}"
            result[name] = apart(given.models, precision, threads)
    # As on a processor that does not say that it adds up exactly; where this one does not, the same as the first.
    result["int8, 1 thread, added up carefully"] = apart(given.models, "int8", 1, careful=True)
    result["int8_with_fp32"] = asyncio.run(nearness(given.models))
    write("embedding", result, as_json=given.json)


if __name__ == "__main__":
    main()
