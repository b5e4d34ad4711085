"""How far vectors have come, read from the database file itself: also where no worker runs, or a damaged one does.

Reads only, for `status` and the doctor; the running program asks `domains.retrieval.embedding`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from claude_mem.adapters.sqlite.connection import Raw
from claude_mem.adapters.sqlite.vector_building import is_large
from claude_mem.adapters.sqlite.vector_graphs import WHOLE, Graphs

_MODELS = (
    "SELECT model_name, dimension, head, gaps, documents, updated_at FROM vector_models"
    " ORDER BY documents DESC, model_name, dimension"
)
_DOCUMENTS = (
    "SELECT coalesce((SELECT sum(documents) FROM search_statistics), 0),"
    " coalesce((SELECT max(id) FROM search_documents), 0)"
)
_JOB = (
    "SELECT status, run_at, error_message FROM task_queue WHERE task_type = 'vectors.embed' LIMIT 1"
)
_LOST = "SELECT (SELECT count(*) FROM vector_embeddings) - (SELECT count(*) FROM vector_rows)"


@dataclass(frozen=True, slots=True)
class Covered:
    """`embedded` of `total` documents have vectors of a model; `waiting` of them may still get some.

    `others` are models with vectors that go when this one's are complete; `updated_at` (Unix ms) is when it last came
    further, None for a model that was never begun.
    """

    embedded: int
    total: int
    waiting: int
    dimension: int | None
    others: tuple[str, ...]
    updated_at: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job that embeds, as it is in the queue; `error` is why it did not go on."""

    status: str
    run_at: int
    error: str


def covered(raw: Raw, model: str, dimension: int | None) -> Covered:
    """How much of everything a model covers; where its dimension is not known, the one that has come furthest."""
    total, last = raw.execute(_DOCUMENTS).fetchone()
    rows = raw.execute(_MODELS).fetchall()
    ours = [row for row in rows if row[0] == model and dimension in (None, row[1])][:1]
    others = tuple(row[0] for row in rows if row not in ours and row[4])
    if not ours:
        return Covered(0, total, total, dimension, others, None)
    _, its_dimension, head, gaps, documents, updated_at = ours[0]
    done = min(max(documents, 0), total)
    is_waiting = bool(orjson.loads(gaps)) or last > head
    return Covered(
        done, total, max(total - done, 1) if is_waiting else 0, its_dimension, others, updated_at
    )


def job(raw: Raw) -> Waiting | None:
    """The job that embeds; None where none is queued."""
    row = raw.execute(_JOB).fetchone()
    return None if row is None else Waiting(row[0], row[1], row[2] or "")


def lost(raw: Raw) -> int:
    """How many vectors that were made the engine does not have. Negative: it has so many of nothing that is known, as a
    damaged file that was recovered may hold.
    """
    return int(raw.execute(_LOST).fetchone()[0])


def graph_faults(raw: Raw, folder: Path) -> list[str]:
    """What is wrong with the graphs over many vectors; those that are not there and should be among it."""
    graphs = Graphs(folder)
    found = [f"{path.name} {why}" for path, why in graphs.faults()]
    whole = {note.space for note in graphs.notes() if note.part == WHOLE}
    for space, model in raw.execute("SELECT space, model FROM vector_spaces").fetchall():
        if space not in whole and is_large(raw, space) and not found:
            found.append(f"there is none over the vectors of {model}")
    return found
