"""Builds the bundled sample from its sources: `python -m tools.sample.build [--out FOLDER]`.

Owns the output folder's `transcripts/`, `facts.json` and `tasks.json`; writes nothing else. The same sources
give the same bytes on every run.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from tools.sample.compose import Composer, slug_of
from tools.sample.facts import facts_document
from tools.sample.source import load_session
from tools.sample.tasks import tasks_document
from tools.sample.tools import World

_HERE = Path(__file__).parent
_DEFAULT_OUT = _HERE.parent.parent / "src" / "claude_mem" / "assets" / "sample"


def compose_all() -> dict[str, Composer]:
    """Compose every session in file order; later ones see the files earlier ones left."""
    world = World()
    composers: dict[str, Composer] = {}
    for path in sorted((_HERE / "sessions").glob("*.session")):
        composer = Composer(load_session(path), world)
        try:
            composer.run()
        except (ValueError, AttributeError, KeyError, IndexError) as error:
            raise SystemExit(f"{path.name}: {error}") from error
        composers[path.stem] = composer
    return composers


def build(out: Path) -> None:
    """Write the transcripts, facts.json and tasks.json under `out`, replacing those of an earlier build."""
    transcripts = out / "transcripts"
    if transcripts.exists():
        shutil.rmtree(transcripts)
    composers = compose_all()
    for composer in composers.values():
        folder = transcripts / slug_of(composer.place.cwd)
        session = composer.place.session_id
        _write_lines(folder / f"{session}.jsonl", composer.lines.rows)
        for agent in composer.subagents:
            stem = folder / session / "subagents" / f"agent-{agent.lines.agent_id}"
            _write_lines(stem.with_suffix(".jsonl"), agent.lines.rows)
            _write(stem.with_suffix(".meta.json"), json.dumps(agent.meta, ensure_ascii=False))
    _write_document(out / "facts.json", facts_document(composers, _HERE / "questions.txt"))
    _write_document(out / "tasks.json", tasks_document(composers, _HERE / "tasks.txt"))


def _write_document(path: Path, document: dict[str, Any]) -> None:
    _write(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    compact = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    _write(path, "".join(f"{line}\n" for line in compact))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Build the bundled sample.")
    parser.add_argument("--out", type=Path, default=_DEFAULT_OUT)
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
