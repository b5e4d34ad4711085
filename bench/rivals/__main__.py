"""Side by side: `python -m bench.rivals --data DIR [--set NAME] [--sizes N ...] [--only NAME ...] [--cache DIR]`.

One run fills and asks each system with the same texts and questions, ours included, one after the other: ours as a
worker over HTTP with its default settings, each rival in its own process and its own environment, which pip makes in
the cache folder from the versions below. Ours is asked once more as they are, by calls in a process of its own, and
both ways without a model, as before one is installed. All embed with the same model: ours in its worker, the rivals by
a server over the same files. What does not install or run is in the table with the reason. `--sizes` measures the first
N texts and the questions whose answers are all among them (all of them where left out).

A rival is given "speaker: text", for it has no field for who spoke; ours is given what a hook would send, with session
and time. Texts that are the same word for word count as one, whichever a system gives.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import report
from bench.retrieval import scoring
from bench.retrieval.data import QuestionSet, Said, sets
from bench.retrieval.product import Product
from bench.rivals import in_process

K = 10
_WARM = 20  # questions before the clock runs
_PATIENCE_S = 3_600
OURS, OURS_CALLED = "claude-mem, over HTTP", "claude-mem, called"
_NO_MODEL = ", without a model"


@dataclass(frozen=True, slots=True)
class Package:
    """What pip installs for a rival."""

    name: str
    version: str
    besides: tuple[str, ...] = ()


_SQLITE = "pysqlite3-binary==0.5.4"  # one that loads extensions: the system's Python may have none
PACKAGES = {
    "chromadb": Package("chromadb", "1.5.9"),
    "mem0": Package("mem0ai", "2.2.1"),
    "mcp-memory-service": Package("mcp-memory-service", "12.4.0", (_SQLITE,)),
    "mcp-memory-service, hybrid": Package("mcp-memory-service", "12.4.0", (_SQLITE,)),
    "MemPalace": Package("mempalace", "3.11.0"),
}


def one_each(said: Sequence[Said]) -> dict[str, str]:
    """Of every text the id that stands for all that say the same: the first."""
    first: dict[str, str] = {}
    return {one.id: first.setdefault(spoken(one), one.id) for one in said}


def spoken(one: Said) -> str:
    """As a rival is given it."""
    return f"{one.speaker}: {one.text}" if one.speaker else one.text


def part(data: QuestionSet, size: int | None) -> QuestionSet:
    """The first texts of a set, and the questions that they answer in full."""
    if size is None or size >= len(data.said):
        return data
    said = data.said[:size]
    held = {one.id for one in said}
    questions = [one for one in data.questions if one.relevant <= held]
    return QuestionSet(data.name, said, questions, data.hashes)


def recall(
    found: dict[str, list[str]], data: QuestionSet, same: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """any@5, any@10 and fraction@10 in percent, with intervals."""
    rows = []
    for question in data.questions:
        ranking = list(dict.fromkeys(same[each] for each in found[question.id]))
        rows.append(scoring.measures(ranking, {same[each] for each in question.relevant}))
    result = {}
    for name in ("any@5", "any@10", "fraction@10"):
        values = [row[name] for row in rows]
        low, high = scoring.interval(values)
        interval = [round(100 * low, 1), round(100 * high, 1)]
        result[name] = {"percent": round(100 * fmean(values), 1), "interval_95": interval}
    return result


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in ms."""
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p99": 0.99}
    last = len(ordered) - 1
    return {it: round(1000 * ordered[min(int(len(ordered) * x), last)], 2) for it, x in at.items()}


def ours(data: QuestionSet, models: Path) -> dict[str, dict[str, Any]]:
    """By name: our worker over HTTP with its defaults, the same called in a process, and both without a model."""
    systems: dict[str, dict[str, Any]] = {}
    for which, folder in (("", models), (_NO_MODEL, None)):
        with Product(folder) as product:
            filled = product.remember(data.said)
            shared = {"build_s": sum(filled.values()), "build": filled}
            told = _over_http(product, data)
            health = product.health()
            shared |= {"version": health.get("version", ""), "disk_mb": disk_mb(product.folder)}
            resident = {"rss_mb": resident_mb(int(health["pid"]))}
            systems[f"{OURS}{which}"] = shared | resident | told
            systems[f"{OURS_CALLED}{which}"] = shared | _called(product, data, folder)
    return systems


def _over_http(product: Product, data: QuestionSet) -> dict[str, Any]:
    for question in data.questions[:_WARM]:
        product.ask(question.text, K)
    product.took = []
    found = {question.id: product.ask(question.text, K) for question in data.questions}
    return {"took_s": product.took, "found": found}


def _called(product: Product, data: QuestionSet, models: Path | None) -> dict[str, Any]:
    told = in_process.measure(
        in_process.Task(
            database=product.folder / "claude-mem.db",
            graphs=product.folder / "vectors",
            models=models,
            questions=[(question.id, question.text) for question in data.questions],
            k=K,
            warm=_WARM,
            only=product.kind,
        )
    )
    events = told["found"]
    told["found"] = {
        key: [own for it in each if (own := product.corpus_id(it)) is not None]
        for key, each in events.items()
    }
    return told


def theirs(name: str, data: QuestionSet, python: Path, endpoint: str) -> dict[str, Any]:
    """A rival in its own process. Raises RuntimeError with the end of what it said when it fails."""
    with tempfile.TemporaryDirectory(prefix="rival-") as temporary:
        folder = Path(temporary) / "data"
        folder.mkdir()
        task = {
            "texts": [[one.id, spoken(one)] for one in data.said],
            "questions": [[one.id, one.text] for one in data.questions],
            "k": K,
            "warm": _WARM,
            "endpoint": endpoint,
            "folder": str(folder),
        }
        given, out = Path(temporary) / "task.json", Path(temporary) / "out.json"
        given.write_text(json.dumps(task), encoding="utf-8")
        driver = Path(__file__).with_name("drive.py")
        run([str(python), "-P", str(driver), name, str(given), str(out)], home=folder)
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        result["disk_mb"] = disk_mb(folder)
        return result


def environment(package: Package, cache: Path) -> Path:
    """The interpreter of an environment with a package, made where it is not there yet. Raises RuntimeError."""
    folder = cache / f"{package.name}-{package.version}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(folder)])
        wanted = (f"{package.name}=={package.version}", *package.besides)
        run([str(python), "-m", "pip", "install", "--quiet", *wanted])
        (folder / "ready").touch()
    return python


def run(command: Sequence[str], home: Path | None = None) -> None:
    """Run it to its end. Raises RuntimeError with its last line when it fails or takes too long."""
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            cwd="/",
            env=None if home is None else _private(home),
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines() or ["no word"]
        raise RuntimeError(lines[-1][:300]) from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not within {_PATIENCE_S} s") from error


def _private(home: Path) -> dict[str, str]:
    """Nothing of whoever runs this, and no hub."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}


@contextmanager
def embedding_server(models: Path) -> Iterator[tuple[str, int]]:
    """(endpoint, pid) of a server over our model, as long as the block runs."""
    command = [sys.executable, "-m", "bench.rivals.embedding_server", "--models", str(models)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the embedding server did not start")
        yield f"http://127.0.0.1:{port}/v1/embeddings", process.pid
    finally:
        process.terminate()
        process.wait()


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return round(int(said.stdout) / 1024, 1)


def disk_mb(folder: Path) -> float:
    """Of the files below a folder, what links point to left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 2**20, 1)


def row(result: dict[str, Any], data: QuestionSet, same: dict[str, str]) -> dict[str, Any]:
    """What is kept of a system's run."""
    kept = {
        "build_s": round(result["build_s"], 1),
        "search_ms": latency(result["took_s"]),
        "recall": recall(result["found"], data, same),
        "rss_mb": round(result["rss_mb"], 1) if result["rss_mb"] else None,
        "disk_mb": result["disk_mb"],
    }
    if result.get("embedding_s"):
        kept["of_it_embedding_ms"] = latency(result["embedding_s"])
    for name in ("build", "version", "packages"):
        if result.get(name):
            kept[name] = result[name]
    kept["top_5"] = {one: found[:5] for one, found in result["found"].items()}
    return kept


def compare(data: QuestionSet, models: Path, cache: Path, names: Sequence[str]) -> dict[str, Any]:
    """All systems on one set."""
    same = one_each(data.said)
    systems: dict[str, Any] = {}
    _say(f"{data.name}, {len(data.said)} texts, {len(data.questions)} questions: ours")
    for name, told in ours(data, models).items():
        systems[name] = row(told, data, same)
    with embedding_server(models) as (endpoint, pid):
        for name in names:
            _say(f"  {name}")
            package = PACKAGES[name]
            try:
                python = environment(package, cache)
                systems[name] = row(theirs(name, data, python, endpoint), data, same)
                systems[name]["version"] = package.version
            except (RuntimeError, OSError, KeyError) as error:
                _say(f"  {name} DID NOT RUN: {error}")
                systems[name] = {"version": package.version, "failed": str(error)}
        server = resident_mb(pid)
    return {
        "data": data.hashes,
        "texts": len(data.said),
        "questions": len(data.questions),
        "embedding_server_rss_mb": server,
        "systems": systems,
    }


def table(result: dict[str, Any]) -> str:
    """Of one set, for people."""
    lines = [f"{result['texts']} texts, {result['questions']} questions"]
    heads = ("any@5", "any@10", "p50 ms", "p99 ms", "embed p50", "build s", "RSS MB", "disk MB")
    lines.append(f"{'':>36}" + "".join(f"{head:>11}" for head in heads))
    for name, one in result["systems"].items():
        if "failed" in one:
            lines.append(f"{name:>36}  DID NOT RUN: {one['failed']}")
            continue
        cells = (
            one["recall"]["any@5"]["percent"],
            one["recall"]["any@10"]["percent"],
            one["search_ms"]["p50"],
            one["search_ms"]["p99"],
            one.get("of_it_embedding_ms", {}).get("p50", "in it"),
            one["build_s"],
            one["rss_mb"],
            one["disk_mb"],
        )
        lines.append(f"{name:>36}" + "".join(f"{cell!s:>11}" for cell in cells))
    lines.append(f"the rivals' embedding server: {result['embedding_server_rss_mb']} MB besides")
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Compare, print tables, keep JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.rivals")
    parser.add_argument("--data", type=Path, required=True, help="a folder of question sets")
    parser.add_argument("--set", default="locomo", help="the set of this name")
    parser.add_argument("--sizes", type=int, nargs="*", default=[], help="the first N texts, each")
    parser.add_argument("--only", action="append", choices=sorted(PACKAGES))
    parser.add_argument("--models", type=Path, default=Path(sys.prefix) / "models")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "claude-mem-rivals"
    )
    parser.add_argument("--json", action="store_true", help="the whole result on standard output")
    options = parser.parse_args()
    names = options.only or list(PACKAGES)
    data = next(each for each in sets(options.data) if each.name == options.set)
    result: dict[str, Any] = {**report.facts(), "set": data.name, "k": K, "runs": []}
    for size in options.sizes or [None]:
        found = compare(part(data, size), options.models, options.cache, names)
        result["runs"].append(found)
        if not options.json:
            print(table(found), flush=True)
    report.keep("rivals", result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
