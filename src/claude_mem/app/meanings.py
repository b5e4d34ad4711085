"""Search by meaning as a person sees it: what makes vectors, whether it is there, how much of the memory has some.

Owns putting it together from the settings, the model's files and the database file; asks nobody and loads no model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import sqlean

from claude_mem.adapters.onnx.pinned import DIMENSION, NAME, model_name
from claude_mem.adapters.sqlite import check, coverage
from claude_mem.adapters.sqlite.coverage import Covered
from claude_mem.app.embedders import model_folder, precision_of
from claude_mem.app.settings import Settings
from claude_mem.kernel.errors import MemError

# What nothing is known of: no database yet, one of an older schema, one that cannot be read.
_UNKNOWN = Covered(0, 0, 0, None, (), None)


@dataclass(frozen=True, slots=True)
class Meanings:
    """`state`: off, no_model, embedding (some wait), ready. `endpoint` is an address without its path.

    `replacing` are models whose vectors stay until this one's are complete; `reason` says why nothing is embedded now.
    """

    state: str
    provider: str
    model: str | None
    precision: str | None
    endpoint: str | None
    installed: bool | None
    embedded: int
    total: int
    waiting: int
    replacing: tuple[str, ...]
    reason: str | None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "replacing": list(self.replacing)}


def meanings(settings: Settings, health: dict[str, Any] | None = None) -> Meanings:
    """How it is, by the sizes of the model's files and not by their hashes. `health` is a running worker's report."""
    by = settings.embedding_by
    if by == "off":
        return Meanings("off", by, None, None, None, None, 0, 0, 0, (), None)
    found = covered(settings) or _UNKNOWN
    said = (health or {}).get("vectors") or {}
    if by == "local":
        precision = precision_of(settings)
        fault = model_folder(settings).fault(precision)
        name, at = NAME, None
    else:
        precision, fault = None, ""
        name, at = settings.embedding_model, urlsplit(settings.embedding_url).netloc
    reason = fault or said.get("reason")
    state = "no_model" if fault else "embedding" if found.waiting else "ready"
    return Meanings(
        state,
        by,
        name,
        precision,
        at,
        None if by == "endpoint" else not fault,
        found.embedded,
        found.total,
        found.waiting,
        found.others,
        reason or None,
    )


def covered(settings: Settings) -> Covered | None:
    """How much of the memory the settings' model covers; None where the database cannot tell."""
    if not settings.database.exists() or not settings.database.stat().st_size:
        return None
    if settings.embedding_by == "local":
        model, numbers = model_name(precision_of(settings)), DIMENSION
    else:
        model, numbers = settings.embedding_model, settings.embedding_dimension
    try:
        with check.read_only(settings.database) as raw:
            return coverage.covered(raw, model, numbers or None)
    except (sqlean.Error, MemError):  # older, damaged or not ours: others say so
        return None
