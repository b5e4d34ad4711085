"""Questions in one language whose answers are in the other, as a question set.

`python -m bench.translated --out DIR` writes `DIR/translated`, which `python -m bench.retrieval --data DIR` reads. The
texts are those of translated.txt, each said in a session of its own; a question is asked of all of them. By category:
`zh` are Chinese questions with English answers, `en` the other way round, and `same` Chinese ones with Chinese answers,
which must not be lost for it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROBES: Final = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True, slots=True)
class Probe:
    """A text, and the question that it answers; empty for one that is only beside the others."""

    question: str
    text: str

    @property
    def category(self) -> str:
        """The question's language, zh or en, where the text is in the other one; else same."""
        asked, told = (_is_chinese(it) for it in (self.question, self.text))
        return "same" if asked == told else "zh" if asked else "en"


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= it <= "\u9fff" for it in text)


def read(path: Path = PROBES) -> list[Probe]:
    """What the file has, in its order."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            question, bar, text = line.partition(" | ")
            found.append(Probe(question, text) if bar else Probe("", line))
    return found


def write(out: Path) -> Path:
    """Make the set under `out`; gives its folder."""
    folder = out / "translated"
    folder.mkdir(parents=True, exist_ok=True)
    probes = list(enumerate(read()))
    said = ({"id": f"t{n}", "session": f"s{n}", "text": one.text} for n, one in probes)
    asked = (
        {"qid": f"q{n}", "query": one.question, "relevant": [f"t{n}"], "category": one.category}
        for n, one in probes
        if one.question
    )
    _lines(folder / "corpus.jsonl", said)
    _lines(folder / "queries.jsonl", asked)
    return folder


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(prog="python -m bench.translated")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make it in")
    print(write(parser.parse_args().out))


if __name__ == "__main__":
    main()
