"""Partitions by month of the tables that grow with every event: made ahead, listed, taken out.

`schema/40_partitions.sql` owns how one is made. The runtime role may ask for the next months and for nothing else;
months of the past, and taking out, are the owner's. What is taken out is kept as it was, where only the owner comes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from claude_mem.adapters.postgres.errors import is_collision, state_of
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

T = TypeVar("T")
DETACHED = "claude_mem_detached"
AHEAD = 2  # months after this one that are there before they begin; the function's constant
_NO_BOUND = 9_000_000_000_000_000_000
_ATTEMPTS, _PAUSE_S = 10, 0.5
_IN_THE_WAY = "55P03"  # lock not available
_NAME = re.compile(r"_y(\d{4})m(\d{2})$")
_PARENTS = """
SELECT c.relname::text FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1
"""
_PARTS = f"""
SELECT p.relname::text, c.relname::text, c.relnamespace::regnamespace::text,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END, pg_total_relation_size(c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.relnamespace = 'public'::regnamespace AND p.relkind = 'p'
UNION ALL
SELECT regexp_replace(c.relname, '_y[0-9]+m[0-9]+$', ''), c.relname, '{DETACHED}',
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END, pg_total_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{DETACHED}' AND c.relkind = 'r'
ORDER BY 1, 2
"""  # noqa: S608 - our own words
# Every tenant's search index is made anew: it forgets what is there no more. A policy holds for the owner too.
_REINDEX = (
    "ALTER TABLE public.enterprises NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE public.task_queue NO FORCE ROW LEVEL SECURITY",
    """
INSERT INTO public.task_queue AS held (enterprise_id, id, task_type, task_key, payload_json, priority, status, run_at,
                                       retry_count, max_retries, created_at)
SELECT id, gen_random_uuid(), 'index.rebuild', 'all', '{}', 0, 'pending', now(), 0, 5, now() FROM public.enterprises
ON CONFLICT (enterprise_id, task_type, task_key) DO UPDATE SET status = 'pending', run_at = now(), retry_count = 0
""",
    "ALTER TABLE public.enterprises FORCE ROW LEVEL SECURITY",
    "ALTER TABLE public.task_queue FORCE ROW LEVEL SECURITY",
)


@dataclass(frozen=True, slots=True)
class Part:
    """One partition. `month` is its first day, None for what lies outside of every month."""

    table: str
    name: str
    month: date | None
    is_detached: bool
    rows: int | None  # the planner's estimate; None where there is none yet
    size: int  # bytes, with indexes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one partition: 'made', 'there', 'detached', or 'held back: ...'."""

    name: str
    outcome: str


class MonthsAhead:
    """What a replica does about partitions, once a day or oftener: cheap where nothing is missing."""

    def __init__(self, database: Database, scope: Scope) -> None:
        self._database = database
        self._scope = scope

    async def make(self) -> list[Outcome]:
        """Make this month and the next two where they are missing; what was done, or held back.

        Raises Unavailable where somebody stood in the way: again later, there are weeks to spare.
        """

        def work(tx: Tx) -> list[Outcome]:
            rows = tx.exec_driver_sql("SELECT part, outcome FROM make_partitions()")
            return [Outcome(*row) for row in rows if row[1] not in {"there", "detached"}]

        return await self._database.write(self._scope, work)


def listed(connection: Connection) -> list[Part]:
    """Every partition there is, those taken out among them."""
    return [
        Part(table, name, month_of(name), schema == DETACHED, rows, size)
        for table, name, schema, rows, size in connection.exec_driver_sql(
            _PARTS, execution_options={"no_parameters": True}
        )
    ]


def make_since(engine: Engine, since: date, tell: Callable[[str, int, int], None]) -> list[Outcome]:
    """As the owner: every month from `since` to two ahead, with the rows that lie outside so far."""
    with engine.connect() as connection:
        parents = [str(row[0]) for row in connection.exec_driver_sql(_PARENTS)]
    wanted = [(parent, month) for month in months(since) for parent in parents]
    done = []
    for at, (parent, month) in enumerate(wanted, 1):

        def work(tx: Connection, parent: str = parent, month: date = month) -> str:
            values = (parent, month, _NO_BOUND)
            statement = "SELECT public.make_partition(%s::regclass, %s, %s::bigint)"
            return str(tx.exec_driver_sql(statement, values).scalar_one())

        done.append(Outcome(f"{parent}_y{month:%Ym%m}", _patiently(engine, work)))
        tell("Partitions", at, len(wanted))
    return [it for it in done if it.outcome != "there"]


def detach_before(engine: Engine, first_kept: date) -> list[str]:
    """As the owner: take out every partition of a month before `first_kept`; their names.

    Nothing is deleted. The rows are gone from every answer at once, and from the search index when a job has been by.
    """
    with engine.connect() as connection:
        old = [
            it
            for it in listed(connection)
            if not it.is_detached and it.month is not None and it.month < first_kept.replace(day=1)
        ]
    for part in old:

        def work(tx: Connection, part: Part = part) -> None:
            tx.exec_driver_sql(
                f"ALTER TABLE public.{part.table} DETACH PARTITION public.{part.name}"
            )
            tx.exec_driver_sql(f"ALTER TABLE public.{part.name} SET SCHEMA {DETACHED}")
            for statement in _REINDEX:
                tx.exec_driver_sql(statement, execution_options={"no_parameters": True})

        _patiently(engine, work)
    return [it.name for it in old]


def months(since: date) -> Iterator[date]:
    """First days of months, from `since`'s to the last that is made ahead."""
    now = datetime.now(UTC).date()
    last = now.year * 12 + now.month - 1 + AHEAD
    for number in range(since.year * 12 + since.month - 1, last + 1):
        yield date(number // 12, number % 12 + 1, 1)


def month_of(name: str) -> date | None:
    """The month a partition is named for."""
    found = _NAME.search(name)
    return date(int(found[1]), int(found[2]), 1) if found else None


def _patiently(engine: Engine, work: Callable[[Connection], T]) -> T:
    """One transaction without a limit for its own work; it waits for others a moment only, and tries again.

    Whoever waits for a table keeps all who come later from it: better to let them through and ask again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with (
                engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
                connection.begin(),
            ):
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = '3s'")
                return work(connection)
        except SQLAlchemyError as error:
            if not (is_collision(error) or state_of(error) == _IN_THE_WAY):
                raise
            time.sleep(_PAUSE_S * (attempt + 1))
    raise Unavailable("others kept the tables busy: nothing was changed, try again", retry_after=60)


def as_dict(part: Part) -> dict[str, Any]:
    """For `--json`."""
    return {
        "table": part.table,
        "name": part.name,
        "month": f"{part.month:%Y-%m}" if part.month else None,
        "detached": part.is_detached,
        "rows_estimated": part.rows,
        "bytes": part.size,
    }
