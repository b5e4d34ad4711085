"""Checks of search by meaning: what makes vectors, how much has some, and what the engine keeps of them."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

import sqlean

from claude_mem.adapters.sqlite import check, coverage
from claude_mem.adapters.sqlite.coverage import Waiting
from claude_mem.app.doctor.model import Case, Check, bad, ok, span, warn
from claude_mem.app.embedders import model_state
from claude_mem.app.meanings import Meanings, meanings
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import MemError

_INSTALL = "claude-mem model install"
_TITLE = "Search by meaning"
_STUCK_S = 600  # without a step, though a worker is at it


def embedding(case: Case) -> list[Check]:
    """Whether the model is there and sound; an endpoint is named and not asked."""
    settings = case.settings
    if settings.embedding_by == "off":
        return [ok("model", _TITLE, "off by embedding_provider: search finds words")]
    if settings.embedding_by == "endpoint":
        host = urlsplit(settings.embedding_url).netloc
        return [ok("model", _TITLE, f"{settings.embedding_model} at {host}")]
    state = model_state(settings)
    if not state.fault:
        said = f"{state.path.name} in {state.precision}, {state.bytes / 1e6:.0f} MB"
        return [ok("model", _TITLE, said)]
    if state.installed:
        return [bad("model", _TITLE, state.fault, _INSTALL, "model")]
    said = "the model is not installed: search finds words, not meanings"
    fix = f"{_INSTALL}, or set embedding_provider to off"
    return [warn("model", _TITLE, said, fix, "model")]


def covered(case: Case) -> list[Check]:
    """How much of the memory has vectors, and whether the rest is being worked on."""
    if case.settings.embedding_by == "off" or not _has_database(case):
        return []
    try:
        with check.read_only(case.files.database) as raw:
            job = coverage.job(raw)
            found = meanings(case.settings, case.status.health)
            return [_coverage(case, found, job)] if found.total else []
    except (sqlean.Error, MemError):  # the database's own checks say so
        return []


def engine(case: Case) -> list[Check]:
    """Whether what finds the nearest vectors has them all, and its files are sound."""
    if not _has_database(case):
        return []
    try:
        with check.read_only(case.files.database) as raw:
            lost = coverage.lost(raw)
            faults = coverage.graph_faults(raw, case.home / "vectors")
            is_at_it = case.answers and coverage.job(raw) is not None
    except (sqlean.Error, MemError):  # the database's own checks say so
        return []
    found = []
    if lost:
        said = f"{lost:,} vectors were made and cannot be found"
        if lost < 0:
            said = f"{-lost:,} vectors can be found that are of nothing that is remembered"
        found.append(bad("vectors.engine", _TITLE, said, "claude-mem db rebuild", "rebuild"))
    if faults and not is_at_it:
        said = f"vector index: {faults[0]}; every vector is compared meanwhile, which takes longer"
        fix, mend = "claude-mem doctor --fix has the worker make it anew", "graphs"
        folder = case.home / "vectors"
        if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            fix, mend = f"make {folder} a folder that you may write", ""
        found.append(warn("vectors.index", _TITLE, said, fix, mend or None))
    elif faults:
        said = f"vector index: {faults[0]}; the worker is making it anew"
        found.append(ok("vectors.index", _TITLE, said))
    return found


def _coverage(case: Case, found: Meanings, job: Waiting | None) -> Check:
    name = "vectors"
    said = f"{found.embedded:,} of {found.total:,} memories have vectors"
    if not found.waiting:
        return ok(name, _TITLE, said)
    if found.replacing:
        said += f", made anew after a change of model ({', '.join(found.replacing)} before)"
    if found.state == "no_model":
        return ok(name, _TITLE, f"{said}; the others get theirs once the model is there")
    if not case.answers:
        return ok(name, _TITLE, f"{said}; the others get theirs while a worker runs")
    if job is None or job.status == "dead":
        fix = "claude-mem doctor --fix has the worker look again"
        return warn(name, _TITLE, f"{said}; nothing works on the others", fix, "graphs")
    reason = found.reason or (job.error if job.status == "pending" else "")
    if reason:
        again = max((job.run_at - now_ms()) / 1000, 0)
        fix = f"mend that; the worker tries again by itself, in {span(again)}"
        return warn(name, _TITLE, f"{said}; the others wait: {reason[:160]}", fix)
    still = _still(case)
    if still > _STUCK_S:
        fix = "claude-mem restart; claude-mem logs tells what keeps it"
        return warn(name, _TITLE, f"{said}; nothing was added for {span(still)}", fix)
    return ok(name, _TITLE, f"{said}; the others are being embedded")


def _still(case: Case) -> float:
    """Seconds without a step of a worker that could have made one."""
    uptime = case.status.worker.uptime_seconds if case.status.worker else None
    with check.read_only(case.files.database) as raw:
        last = raw.execute("SELECT max(updated_at) FROM vector_models").fetchone()[0]
    idle = time.time() - (last or 0) / 1000
    return min(idle, float(uptime or 0))


def _has_database(case: Case) -> bool:
    path = case.files.database
    return path.exists() and path.stat().st_size > 0
