"""Write the question set: `python -m bench.coding --out DIR`. Same sources, same bytes.

`DIR/coding` then holds corpus.jsonl and queries.jsonl as `python -m bench.retrieval --data DIR` reads them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.coding import corpus, questions


def write(out: Path) -> Path:
    """Make the set under `out`; gives its folder."""
    folder = out / "coding"
    folder.mkdir(parents=True, exist_ok=True)
    _lines(folder / "corpus.jsonl", corpus.rows())
    _lines(folder / "queries.jsonl", (asked.row() for asked in questions.load()))
    return folder


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Write it and say how much there is."""
    parser = argparse.ArgumentParser(prog="python -m bench.coding")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make it in")
    folder = write(parser.parse_args().out)
    for name in ("corpus", "queries"):
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").count("\n")
        print(f"{name}: {lines} lines")


if __name__ == "__main__":
    main()
