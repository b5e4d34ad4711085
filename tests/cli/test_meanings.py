"""Search by meaning as `status` and the doctor tell of it: with a real model, and files that are really damaged."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlean

from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.sqlite import vector_building
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.vector_building import GraphBuilder
from claude_mem.adapters.sqlite.vector_graphs import Graphs
from claude_mem.adapters.sqlite.vectors import SqliteVectorIndex
from claude_mem.app.build import build_local
from claude_mem.app.doctor import fixes, vectors
from claude_mem.app.doctor.model import Case, Check, Level
from claude_mem.app.embedders import make_embedder
from claude_mem.app.meanings import meanings
from claude_mem.app.rebuild import rebuild_index
from claude_mem.app.settings import load
from claude_mem.cli.status import meaning_text
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import vector_repository
from claude_mem.domains.retrieval.vector_repository import Stored
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.vectors import VectorEntry, VectorModel
from claude_mem.worker.status import status as worker_status
from store_support import copy_store, make_store

pytestmark = pytest.mark.slow

INT8 = "all-MiniLM-L6-v2/int8"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, model_folder: ModelFolder) -> Path:
    """A small store whose memories all have vectors of the real model, closed."""
    home = tmp_path_factory.mktemp("embedded") / "data"
    make_store(home, sessions=2, turns=3)
    (home / "models").symlink_to(model_folder.path.parent)
    asyncio.run(_embed(home))
    (home / "models").unlink()
    return home


async def _embed(home: Path) -> None:
    settings = load(home, {})
    system = build_local(settings, make_embedder(settings))
    async with system.parts.lifespan(None):
        until = time.monotonic() + 60
        while meanings(settings).waiting:
            assert time.monotonic() < until
            await asyncio.sleep(0.1)


@pytest.fixture
def home(
    private_home: Path, embedded: Path, model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of it, with a model of its own."""
    home = copy_store(embedded, private_home / ".claude-mem")
    shutil.copytree(
        model_folder.path,
        home / "models" / model_folder.path.name,
        ignore=shutil.ignore_patterns("model.safetensors"),
    )
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))
    return home


def case(home: Path, *, answers: bool = False, **said: Any) -> Case:
    """The installation; with `answers` as if a worker ran, which says `said` of its vectors."""
    found = worker_status(home, cap_bytes=1 << 40)
    if answers:
        found = dataclasses.replace(found, health={"vectors": said})
    return Case(home, load(home), None, found, {}, home)


def edit(home: Path, statement: str, *values: Any) -> int:
    with sqlean.connect(home / "claude-mem.db") as connection:
        return int(connection.execute(statement, values).rowcount)


def graph(home: Path) -> Path:
    return home / "models" / "all-MiniLM-L6-v2" / "model-int8.onnx"


def levels(checks: list[Check]) -> list[tuple[str, Level, str | None]]:
    return [(it.id, it.status, it.mend) for it in checks]


# -- status -----------------------------------------------------------------------------------


def test_everything_is_embedded(home: Path) -> None:
    found = meanings(load(home))
    assert (found.state, found.model, found.precision) == ("ready", "all-MiniLM-L6-v2", "int8")
    assert (found.installed, found.waiting, found.reason) == (True, 0, None)
    assert found.embedded == found.total > 0
    text = meaning_text(found.as_dict())
    assert text.startswith("all-MiniLM-L6-v2 in int8; ")
    assert f"{found.total} of {found.total} memories" in text


def test_a_model_that_is_gone_or_cut_is_told_with_the_way_out(home: Path) -> None:
    os.truncate(graph(home), 1_000_000)
    found = meanings(load(home))
    assert (found.state, found.installed) == ("no_model", False)
    assert "is damaged" in str(found.reason)
    assert found.embedded == found.total, "what has vectors keeps them"
    shutil.rmtree(home / "models")
    text = meaning_text(meanings(load(home)).as_dict())
    assert "not installed: claude-mem model install" in text
    assert "search finds words meanwhile" in text


def test_what_waits_is_counted(home: Path) -> None:
    total = meanings(load(home)).total
    edit(home, "UPDATE vector_models SET documents = documents - 2, gaps = '[[0,3]]'")
    found = meanings(load(home))
    assert (found.state, found.embedded, found.waiting) == ("embedding", total - 2, 2)
    assert meaning_text(found.as_dict()).endswith(", 2 wait")


def test_after_a_change_of_precision_the_old_vectors_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PRECISION", "fp32")
    found = meanings(load(home))
    assert (found.embedded, found.waiting, found.replacing) == (0, found.total, (INT8,))
    (told,) = vectors.covered(case(home))
    assert f"change of model ({INT8} before)" in told.found


def test_an_endpoint_is_shown_without_its_path_and_with_what_is_wrong(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_URL", "http://127.0.0.1:9/v1?key=s3cret")
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_MODEL", "bge-m3")
    found = meanings(load(home), {"vectors": {"reason": "it cannot be reached"}})
    assert (found.provider, found.endpoint, found.installed) == ("endpoint", "127.0.0.1:9", None)
    text = meaning_text(found.as_dict())
    assert "bge-m3 at 127.0.0.1:9" in text
    assert "it cannot be reached" in text
    assert "s3cret" not in text


def test_switched_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PROVIDER", "off")
    assert meanings(load(home)).state == "off"
    assert "search finds words" in meaning_text(meanings(load(home)).as_dict())
    assert vectors.covered(case(home)) == []


@pytest.mark.parametrize("harm", ["none", "noise", "older"])
def test_without_a_database_that_tells_nothing_is_claimed(home: Path, harm: str) -> None:
    if harm == "none":
        (home / "claude-mem.db").unlink()
    elif harm == "noise":
        (home / "claude-mem.db").write_bytes(b"\0" * 8192)
    else:
        edit(home, "DROP TABLE vector_models")
    found = meanings(load(home))
    assert (found.embedded, found.total, found.waiting) == (0, 0, 0)
    assert vectors.covered(case(home)) == []


# -- the doctor -------------------------------------------------------------------------------


def test_a_sound_one_has_nothing_to_mend(home: Path) -> None:
    its = case(home)
    checks = [*vectors.embedding(its), *vectors.covered(its), *vectors.engine(its)]
    assert levels(checks) == [("model", Level.OK, None), ("vectors", Level.OK, None)]


def test_a_cut_model_fails_by_the_doctor_and_nothing_else_is_blamed(home: Path) -> None:
    os.truncate(graph(home), 1_000_000)
    edit(home, "UPDATE vector_models SET documents = documents - 2, gaps = '[[0,3]]'")
    assert levels(vectors.embedding(case(home))) == [("model", Level.FAIL, "model")]
    (told,) = vectors.covered(case(home, answers=True))
    assert told.status is Level.OK
    assert "once the model is there" in told.found


def test_a_backlog_that_nobody_works_on_is_found(home: Path) -> None:
    edit(home, "UPDATE vector_models SET documents = 0, gaps = '[[0,3]]'")
    edit(home, "DELETE FROM task_queue WHERE task_type = 'vectors.embed'")
    assert "while a worker runs" in vectors.covered(case(home))[0].found
    assert levels(vectors.covered(case(home, answers=True))) == [("vectors", Level.WARN, "graphs")]


def test_a_backlog_says_why_it_waits_or_that_it_does_not_come_further(home: Path) -> None:
    edit(home, "UPDATE vector_models SET documents = 0, gaps = '[[0,3]]', updated_at = 1")
    edit(home, "DELETE FROM task_queue")
    edit(
        home,
        "INSERT INTO task_queue (enterprise_id, id, task_type, task_key, payload_json, priority, status, run_at,"
        " retry_count, max_retries, created_at, error_message)"
        " VALUES ((SELECT enterprise_id FROM vector_models), ?, 'vectors.embed', 'all', '{}', 0, 'pending', ?, 0, 3, 1, ?)",
        *(new_id(), now_ms() + 60_000, "the endpoint cannot be reached"),
    )
    (told,) = vectors.covered(case(home, answers=True))
    assert (told.status, told.mend) == (Level.WARN, None)
    assert "wait: the endpoint cannot be reached" in told.found
    assert "tries again by itself" in str(told.fix)
    edit(home, "UPDATE task_queue SET error_message = NULL, status = 'running'")
    (told,) = vectors.covered(case(home, answers=True))
    assert "are being embedded" in told.found
    long = case(home, answers=True)
    worker = worker_of(long, uptime=3 * 3600)
    long.status = dataclasses.replace(long.status, worker=worker)
    (told,) = vectors.covered(long)
    assert (told.status, told.fix) == (
        Level.WARN,
        "claude-mem restart; claude-mem logs tells what keeps it",
    )
    assert "nothing was added for 3 hours" in told.found


def worker_of(its: Case, uptime: int) -> Any:
    from claude_mem.worker.status import Worker

    return Worker(1, "1", True, its.settings.port, None, "", uptime, None)


def test_vectors_the_engine_lost_are_put_back(home: Path) -> None:
    lost = edit(home, "DELETE FROM vector_rows")
    assert lost > 0
    (told,) = vectors.engine(case(home))
    assert (told.status, told.mend) == (Level.FAIL, "rebuild")
    assert f"{lost} vectors" in told.found
    fixes.mend("rebuild", case(home))
    assert vectors.engine(case(home)) == []


@pytest.mark.parametrize("harm", ["cut", "graph gone", "noise in the note", "all gone"])
def test_a_damaged_index_is_found_and_made_anew_when_the_worker_looks(
    home: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_building, "FROM", 300)
    folder, model = home / "vectors", VectorModel(INT8, 384)
    fill(home, model, 400)
    builder = GraphBuilder(home / "claude-mem.db", folder, Graphs(folder))
    build(builder, model)
    assert vectors.engine(case(home)) == []
    (file,), (note,) = list(folder.glob("*.graph")), list(folder.glob("*.json"))
    if harm == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif harm == "graph gone":
        file.unlink()
    elif harm == "noise in the note":
        note.write_bytes(b"\0\1")
    else:
        shutil.rmtree(folder)
    (told,) = vectors.engine(case(home))
    assert (told.id, told.status, told.mend) == ("vectors.index", Level.WARN, "graphs")
    assert "takes longer" in told.found
    build(builder, model)  # the same one: as in a worker that was running all the while
    assert vectors.engine(case(home)) == []


def test_an_index_that_may_not_be_written_is_not_promised_to_be_mended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_building, "FROM", 300)
    fill(home, VectorModel(INT8, 384), 400)
    (home / "vectors").write_bytes(b"")
    (told,) = vectors.engine(case(home))
    assert (told.status, told.mend) == (Level.WARN, None)
    assert f"make {home / 'vectors'} a folder" in str(told.fix)


def test_vectors_of_nothing_that_is_known_are_found_and_go_with_a_rebuild(home: Path) -> None:
    fill(home, VectorModel(INT8, 384), 3, kept=2)
    (told,) = vectors.engine(case(home))
    assert (told.status, told.mend) == (Level.FAIL, "rebuild")
    assert told.found.startswith("1 vectors can be found that are of nothing")
    rebuild_index(home / "claude-mem.db", lambda _done, _of: None, "UTC")
    assert vectors.engine(case(home)) == []


def fill(home: Path, model: VectorModel, count: int, kept: int | None = None) -> None:
    """So many vectors more, all or the first `kept` of which are known to have been made."""
    made = np.random.default_rng(1).standard_normal((count, model.dimension))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    rows = [
        Stored(new_id(), EntityRef("prompt", new_id()), model, 0, 1, b"", b"", it.tobytes())
        for it in made.astype("<f4")
    ]
    entries = [VectorEntry(row.id, None, row.vector, row.owner) for row in rows]
    engine = make_engine(home / "claude-mem.db", writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        SqliteVectorIndex().add(local_scope(), connection, model, entries)
        vector_repository.add(local_scope(), connection, rows[:kept])
        connection.exec_driver_sql("COMMIT")
    engine.dispose()


def build(builder: GraphBuilder, model: VectorModel) -> None:
    while builder.catch_up(local_scope(), model):
        pass


def test_a_worker_that_starts_looks_at_its_graphs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_building, "FROM", 300)
    fill(home, VectorModel(INT8, 384), 400)
    assert vectors.engine(case(home))[0].id == "vectors.index", "there is none yet"

    async def run() -> None:
        settings = load(home)
        system = build_local(settings, make_embedder(settings))
        async with system.parts.lifespan(None):
            until = time.monotonic() + 30
            while vectors.engine(case(home)):
                assert time.monotonic() < until
                await asyncio.sleep(0.1)

    asyncio.run(run())
