"""Vector search on PostgreSQL under row-level security: speed, recall and room by size of the tenant.

    python -m bench.server_vectors [--sizes 100000,1000000] [--queries 100] [--keep FOLDER] [--out FILE]

Vectors of 384 numbers, generated (fixed seed): topics of very different sizes, several to a field, each with a few
directions of its own in which its vectors differ; a tenant has sixty topics, which others have too. A question is a
kept vector moved by a third of its length, every fifth about a topic that the tenant mostly does not have. It is asked
through the adapter, as the runtime role, in a transaction of its own; recall is what share of the ten nearest by 32-bit
arithmetic comes back. Rows go in by COPY; those of the larger tenants are put into cells by the adapter, as the runtime
role, as the job does it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import psycopg

from bench.report import facts
from bench.server import Cost, backend, filled, machine, postgres, tenants
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.vectors import EXACT, PostgresVectorIndex
from claude_mem.kernel.scope import Scope
from claude_mem.ports.vectors import VectorEntry, VectorModel

MODEL: Final = VectorModel("bench", 384)
_TOPICS, _FIELDS, _OF_TENANT, _DIRECTIONS = 2_000, 40, 60, 24
_PROJECTS: Final = (0.5, 0.25, 0.15, 0.06, 0.03, 0.01)  # shares of a tenant's vectors
_COLUMNS = "enterprise_id, id, project_id, model, dimension, cell, vector"
_MEASURED = 3  # tenants of a size


class World:
    """Topics, and each tenant's vectors; the same whenever they are asked for.

    Spread as a sentence model spreads chunks of conversations: of 10,000, the nearest at a cosine of 0.77 and the tenth
    at 0.68 (measured: 0.81, 0.67), with a local dimension (maximum likelihood, 20 neighbours) of 16 (11 to 18).
    """

    def __init__(self) -> None:
        noise = np.random.default_rng(7)
        fields = noise.standard_normal((_FIELDS, MODEL.dimension))
        field = fields[noise.integers(0, _FIELDS, _TOPICS)]
        own = noise.standard_normal((_TOPICS, MODEL.dimension))
        common = noise.standard_normal(MODEL.dimension)
        self._centres = self._unit(0.3 * common + 0.65 * field + 0.7 * own)
        self._directions = noise.standard_normal((_TOPICS, _DIRECTIONS, MODEL.dimension)) / 19.6

    @staticmethod
    def _unit(vectors: Any) -> Any:
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")

    def _about(self, noise: np.random.Generator, topics: Any) -> Any:
        """A vector about each of some topics."""
        found = np.empty((len(topics), MODEL.dimension), dtype="<f4")
        for topic in np.unique(topics):
            places = np.flatnonzero(topics == topic)
            along = noise.standard_normal((len(places), _DIRECTIONS)) @ self._directions[topic]
            apart = noise.standard_normal((len(places), MODEL.dimension)) / 80
            found[places] = self._centres[topic] + 0.2 * along + apart
        return self._unit(found)

    def vectors(self, scope: Scope, count: int) -> Any:
        """A tenant's vectors, by number."""
        noise = np.random.default_rng(UUID(scope.enterprise_id).int & 0xFFFF)
        topics = noise.choice(_TOPICS, _OF_TENANT, replace=False)
        weights = 1 / np.arange(1, _OF_TENANT + 1)
        return self._about(
            noise, topics[noise.choice(_OF_TENANT, count, p=weights / weights.sum())]
        )

    def questions(self, kept: Any, count: int) -> Any:
        """Vectors to look for."""
        noise = np.random.default_rng(len(kept))
        near = kept[noise.integers(0, len(kept), count)]
        moved = self._unit(near + noise.standard_normal(near.shape) * 0.33 / 19.6)
        moved[::5] = self._about(noise, noise.integers(0, _TOPICS, len(moved[::5])))
        return moved


def project(number: int) -> int:
    """Which of a tenant's projects its `number`-th vector is in; mixed, as they come."""
    place = number * 0.6180339887 % 1
    return int(np.searchsorted(np.cumsum(_PROJECTS), place, side="right"))


def _id(kind: int, number: int) -> UUID:
    return UUID(int=(kind << 64) + number + 1)


def numbered(number: int) -> str:
    """The id of a tenant's `number`-th vector."""
    return str(_id(1, number))


def copy_in(raw: psycopg.Connection[Any], scope: Scope, vectors: Any) -> None:
    """One tenant's rows, as COPY takes them in binary."""
    length = 2 * MODEL.dimension + 4
    ids = [("fields", ">i2"), ("e", ">i4"), ("enterprise", "V16"), ("i", ">i4"), ("id", "V16")]
    keys = [("p", ">i4"), ("project", "V16"), ("m", ">i4"), ("model", "S5"), ("d", ">i4")]
    place = [("dimension", ">i2"), ("c", ">i4")]
    value = [("v", ">i4"), ("size", ">i2"), ("zero", ">i2"), ("vector", ">f2", MODEL.dimension)]
    row = np.dtype([*ids, *keys, *place, *value])
    with raw.cursor().copy(f"COPY vector_index ({_COLUMNS}) FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(vectors), 5_000):
            some = vectors[start : start + 5_000]
            rows = np.zeros(len(some), dtype=row)
            rows["fields"], rows["e"], rows["i"], rows["p"] = 7, 16, 16, 16
            rows["m"], rows["d"], rows["v"], rows["c"] = 5, 2, length, -1
            rows["model"], rows["dimension"] = MODEL.name.encode(), MODEL.dimension
            rows["enterprise"] = np.void(UUID(scope.enterprise_id).bytes)
            numbers = range(start, start + len(some))
            rows["id"] = np.array([_id(1, n).bytes for n in numbers], dtype="V16")
            rows["project"] = np.array([_id(2, project(n)).bytes for n in numbers], dtype="V16")
            rows["size"], rows["vector"] = MODEL.dimension, some
            copy.write(rows.tobytes())
        copy.write(b"\xff\xff")


def fill(world: World, size: int, urls: Any) -> dict[str, Any]:
    """All tenants' vectors, and the cells of those who have many; seconds and megabytes."""
    address = urls.admin.replace("+psycopg", "")
    with psycopg.connect(address, autocommit=True) as raw:
        began, large = time.perf_counter(), []
        for label, scopes in tenants(size).items():
            for scope in scopes:
                copy_in(raw, scope, world.vectors(scope, int(label)))
                if int(label) > EXACT:
                    large.append(scope)
        filled_in = time.perf_counter() - began
        print(f"{size} vectors in after {filled_in:.0f} s", flush=True)
        raw.execute("VACUUM ANALYZE vector_index")
        took = asyncio.run(settle(urls, large))
        raw.execute("VACUUM ANALYZE vector_index")
        raw.execute("VACUUM ANALYZE vector_cells")
        room = raw.execute(
            "SELECT pg_table_size('vector_index'), pg_indexes_size('vector_index'),"
            " pg_total_relation_size('vector_cells'), (SELECT count(*) FROM vector_cells)"
        ).fetchone()
        assert room is not None
    return {
        "copy_seconds": round(filled_in),
        **took,
        "cells": room[3],
        "table_mb": round(room[0] / 1e6),
        "indexes_mb": round(room[1] / 1e6),
        "cells_mb": round(room[2] / 1e6),
    }


def _settle(index: PostgresVectorIndex, scope: Scope, tx: Any) -> bool:
    return index.settle(scope, tx, MODEL)


async def settle(urls: Any, scopes: list[Scope]) -> dict[str, Any]:
    """Everything of some tenants put into cells; seconds on the clock, and of processors."""
    if not scopes:
        return {}
    database, index = PostgresDatabase(urls.runtime, 1), PostgresVectorIndex()
    cost = Cost(await backend(database, scopes[0]))
    for scope in scopes:
        with cost.of_one():
            while await database.write(scope, partial(_settle, index, scope)):
                pass
        print("  one settled", cost.figures(), flush=True)
    await database.close()
    return {
        "settle_seconds": round(cost.sum_ms / 1_000),
        "settle_cpu_seconds": round(cost.cpu_sum_ms / 1_000),
    }


def nearest(kept: Any, query: Any, of: Any | None) -> set[str]:
    """The ids of the ten nearest, by 32-bit arithmetic."""
    places = np.arange(len(kept)) if of is None else np.flatnonzero(of)
    cosines = (kept if of is None else kept[places]) @ query
    best = np.argpartition(-cosines, 9)[:10] if len(cosines) > 10 else np.arange(len(cosines))
    return {numbered(int(places[at])) for at in best}


async def ask(
    database: PostgresDatabase, scope: Scope, world: World, kept: Any, count: int
) -> dict[str, Any]:
    """Questions to one tenant: of everything, and of its largest and a small project."""
    index = PostgresVectorIndex()
    of_number = np.array([project(n) for n in range(len(kept))])
    pid = await backend(database, scope)
    found: dict[str, Any] = {}
    for name, wanted in (("all", None), ("largest project", 0), ("small project", 4)):
        cost, shares = Cost(pid), []
        of = None if wanted is None else of_number == wanted
        projects = None if wanted is None else [str(_id(2, wanted))]
        questions = world.questions(kept, count + 3)
        # Beforehand: going through all vectors leaves nothing of the server's in the processor's caches.
        right = [nearest(kept, query, of) for query in questions]
        for place, (query, best) in enumerate(zip(questions, right, strict=True)):

            def work(tx: Any, q: bytes = query.tobytes(), p: Any = projects) -> Any:
                return index.nearest(scope, tx, MODEL, q, p, 10)

            if place < 3:  # the connection's first ones make their plans
                await database.read(scope, work)
                continue
            with cost.of_one():
                answer = await database.read(scope, work)
            shares.append(len(best & {each.id for each in answer}) / len(best))
        rows = len(kept) if of is None else int(of.sum())
        recall = round(float(np.mean(shares)), 4)
        found[name] = {"rows": rows, "recall_at_10": recall, **cost.figures()}
    return found


async def growth(database: PostgresDatabase, scope: Scope, world: World) -> dict[str, float]:
    """Milliseconds a vector: to add, and to settle into the cells of the largest tenant."""
    index = PostgresVectorIndex()
    pid = await backend(database, scope)
    vectors = world.questions(world.vectors(scope, 2_000), 1_000)
    entries = [VectorEntry(str(_id(3, n)), None, v.tobytes()) for n, v in enumerate(vectors)]
    adding, settling = Cost(pid), Cost(pid)
    for start in range(0, 1_000, 50):
        with adding.of_one():
            some = entries[start : start + 50]
            await database.write(scope, lambda tx, s=some: index.add(scope, tx, MODEL, s))  # type: ignore[misc]
    with settling.of_one():
        await database.write(scope, lambda tx: index.settle(scope, tx, MODEL))
    # What was kept is to be found again, and no more.
    await database.write(scope, lambda tx: index.remove(scope, tx, [each.id for each in entries]))
    return {
        "add_cpu_ms": round(adding.figures()["cpu_p50_ms"] / 50, 3),
        "settle_cpu_ms": round(settling.figures()["cpu_p50_ms"] / 1_000, 3),
    }


async def measure(urls: Any, world: World, size: int, count: int) -> dict[str, Any]:
    """By size of the tenant, the worst recall and time of the few that are asked."""
    database = PostgresDatabase(urls.runtime, 1)
    by_size: dict[str, Any] = {}
    for label, scopes in tenants(size).items():
        asked = [
            await ask(database, scope, world, world.vectors(scope, int(label)), count)
            for scope in scopes[:_MEASURED]
        ]
        by_size[label] = {
            of: {
                name: (min if name == "recall_at_10" else max)(each[of][name] for each in asked)
                for name in asked[0][of]
            }
            for of in asked[0]
        }
        print(f"  tenant of {label}:", json.dumps(by_size[label]), flush=True)
    largest = next(iter(tenants(size).values()))[0]
    grown = await growth(database, largest, world)
    await database.close()
    return {"tenants": by_size, "growth": grown}


def main() -> None:
    """Fill, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument(
        "--keep", type=Path, help="keep the server's data here, and go on with what is there"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/server_vectors.json"))
    given = parser.parse_args()
    report: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    report |= facts()
    world = World()
    with postgres(given.keep) as server:
        for size in sorted(int(size) for size in given.sizes.split(",")):
            with filled(server, size, partial(fill, world, size), given.keep) as (
                urls,
                result,
            ):
                print(size, "vectors", result, flush=True)
                result |= asyncio.run(measure(urls, world, size, given.queries))
            report[str(size)] = result | machine()
            given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
