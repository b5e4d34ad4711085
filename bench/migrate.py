"""A large store brought into PostgreSQL by the command, killed again and again, compared, then kept up to date.

    python -m bench.migrate [--observations 100000] [--kills 5] [--index] [--store FOLDER]

The store is made by the product's own recording (observations, prompts, code changes, natural keys, ledger,
journal) and brought by `claude-mem migrate postgres` in a process of its own, which SIGKILL ends at random moments.
Counted as `rows_per_second` are rows of all tables over the seconds of bringing them, in a run that nobody kills,
into a database of its own. The server flushes to disk as servers do (`fsync` on); it and the command share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import report
from bench.corpus import START, Corpus
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.app.migrate import ensure_current
from claude_mem.app.owner import RUNTIME_ROLE
from claude_mem.app.owner import URL as OWNER_URL
from claude_mem.app.transfer.postgres import URL
from claude_mem.domains.access import service as access
from claude_mem.domains.access.repository import make_enterprise
from claude_mem.domains.memory import model as m
from claude_mem.domains.memory import service as memory
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope, local_scope
from claude_mem.ports.database import Tx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
servers: Any = importlib.import_module("servers")  # the tests' own PostgreSQL

_SCOPE = local_scope()
_E = Scope(new_id(), new_id(), ALL_PERMISSIONS)
_BATCH, _SESSION = 500, 200  # observations a transaction, a session
_DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
}
Row = dict[str, Any]


def fill(path: Path, corpus: Corpus, first: int, count: int) -> None:
    """Observations `first` up to `first + count`, with what belongs to them."""
    ensure_current(path)
    engine = make_engine(path, writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous=OFF")  # not what is measured here
        connection.exec_driver_sql("BEGIN")
        access.make_local_organisation(connection)
        connection.exec_driver_sql("COMMIT")
        for start in range(first, first + count, _BATCH):
            connection.exec_driver_sql("BEGIN")
            _record(connection, corpus, range(start, min(start + _BATCH, first + count)))
            connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    engine.dispose()


def _record(tx: Tx, corpus: Corpus, numbers: range) -> None:
    made = m.Recording()
    session = ""
    for number in numbers:
        seen = corpus.observation(number)
        at, event = seen.occurred_at, new_id(seen.occurred_at)
        if number % _SESSION == 0 or not session:
            project = access.ensure_project(_SCOPE, tx, f"/home/dev/project{seen.project}")
            session, prompt = new_id(at), new_id(at)
            title = f"Session {number}"
            made.sessions.append(
                m.NewSession(session, project, None, "bench", session, title, at, {})
            )
            made.prompts.append(
                m.NewPrompt(
                    prompt,
                    session,
                    event,
                    1,
                    "user",
                    seen.body[:400],
                    f"{number:x}",
                    90,
                    f"p{number}",
                    None,
                    {"project": project},
                    at,
                )
            )
        entity = new_id(at)
        made.observations.append(
            m.NewObservation(
                entity,
                session,
                prompt,
                event,
                "tool_result",
                "Bash",
                seen.title,
                seen.body,
                f"{number:064x}",
                "make",
                0,
                0.5,
                ("bench",),
                {"files": ["a.py"]},
                None,
                at,
            )
        )
        made.natural_keys.append(m.NaturalKey(session, f"tool:{number}", "observation", entity))
        made.ledger.append(m.LedgerRow(event, "tool.used", session, "observation", at))
        if number % 5 == 0:
            change = new_id(at)
            made.code_changes.append(
                m.NewCodeChange(
                    change,
                    session,
                    project,
                    entity,
                    event,
                    f"src/{number % 97}.py",
                    "edit",
                    3,
                    1,
                    seen.body[:600],
                    prompt,
                    "because",
                    f"t{number}",
                    at,
                )
            )
    memory.record(_SCOPE, tx, made)


def forget_some(path: Path, count: int) -> list[str]:
    """Forget prompts and observations as a person does."""
    engine = make_engine(path, writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        refs = [
            m.EntityRef(kind, row[0])
            for kind, table in (("prompt", "prompts"), ("observation", "observations"))
            for row in connection.exec_driver_sql(
                f"SELECT id FROM {table} ORDER BY id LIMIT {count}"
            )
        ]
        memory.erase(_SCOPE, connection, refs)
        connection.exec_driver_sql("COMMIT")
    engine.dispose()
    return [ref.id for ref in refs]


class Command:
    """`claude-mem migrate postgres` with one store and one database."""

    def __init__(self, home: Path, urls: Any) -> None:
        self._environment = {**os.environ, "CLAUDE_MEM_HOME": str(home), URL: urls.runtime}
        self._command = [sys.executable, "-m", "claude_mem", "migrate", "postgres"]
        self._command += ["--enterprise", _E.enterprise_id, "--json"]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """In its own process."""
        return subprocess.Popen(
            [*self._command, *more], env=self._environment, stdout=subprocess.PIPE
        )

    def run(self, *more: str) -> Row:
        """To its end."""
        started = time.monotonic()
        done = self.start(*more)
        out, _ = done.communicate()
        told: Row = json.loads(out)
        told["wall_seconds"] = round(time.monotonic() - started, 2)
        return told


def prepare(server: Any, months_since: str) -> Any:
    """A database with the enterprise, and a partition for every month of the store."""
    urls = server.database()
    environment = {**os.environ, OWNER_URL: urls.owner, RUNTIME_ROLE: servers.RUNTIME}
    command = [sys.executable, "-m", "claude_mem", "db", "partitions", "--json"]
    subprocess.run(
        [*command, "--since", months_since], env=environment, check=True, stdout=subprocess.DEVNULL
    )

    async def make() -> None:
        database = PostgresDatabase(urls.runtime, connections=1)
        await database.write(
            _E,
            lambda tx: make_enterprise(
                tx,
                enterprise_id=_E.enterprise_id,
                solution_id=_E.user_id,
                user_id=_E.user_id,
                now=START,
            ),
        )
        await database.close()

    asyncio.run(make())
    return urls


def brief(told: Row) -> Row:
    """What is worth keeping of a run's answer."""
    verified = told.get("verified", {}).values()
    return {
        "ok": told["ok"],
        "wall_seconds": told["wall_seconds"],
        "bring_seconds": told.get("seconds"),
        "rows": sum(it["rows"] for it in told.get("tables", {}).values()),
        "sent": sum(it["sent"] for it in told.get("tables", {}).values()),
        "removed": told.get("removed"),
        "faults": told.get("fault_count"),
        "indexed": told.get("indexed"),
        "compared_rows": sum(it["rows"] for it in verified),
        "equal_ranges": sum(it["equal_ranges"] for it in verified),
        "ranges": sum(it["ranges"] for it in verified),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--observations", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--index", action="store_true", help="measure the text index, too")
    parser.add_argument(
        "--store", type=Path, help="a folder in which the store is kept for the next time"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="cm-migrate-") as folder,
        servers.postgres_server(_DURABLE) as server,
    ):
        result = measure(options, options.store or Path(folder), server)
    report.write("migrate", result, as_json=options.json)
    return 1 if result["problems"] else 0


def measure(options: argparse.Namespace, home: Path, server: Any) -> Row:
    """Everything, in order."""
    path, corpus, count = home / "claude-mem.db", Corpus(), options.observations
    started = time.monotonic()
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        fill(path, corpus, 0, count)
    else:
        ensure_current(path)
    result: Row = {
        "machine": report.facts() | {"load_average": round(os.getloadavg()[0], 1)},
        "observations": count,
        "store_bytes": path.stat().st_size,
        "fill_seconds": round(time.monotonic() - started, 1),
    }
    problems: list[str] = []
    index = () if options.index else ("--no-index",)
    since = time.strftime("%Y-%m", time.gmtime(START / 1000))

    quiet = Command(home, prepare(server, since))
    result["dry_run"] = brief(quiet.run("--dry-run"))
    whole = quiet.run(*index)
    result["whole_run"] = brief(whole)
    result["rows_per_second"] = round(result["whole_run"]["rows"] / whole["seconds"])
    if options.index and whole["indexed"]:
        spent = whole["wall_seconds"] - whole["seconds"]
        result["index_and_compare_seconds"] = round(spent, 1)
    _expect(problems, whole["ok"], "the whole run")

    killed = Command(home, prepare(server, since))
    chance, at = random.Random(options.seed), []
    for _ in range(options.kills):
        run = killed.start("--no-index")
        seconds = 0.8 + chance.random() * whole["seconds"] * 0.5
        time.sleep(seconds)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        at.append(round(seconds, 2))
    last = killed.run("--no-index")
    result["killed"] = {"after_seconds": at, "last_run": brief(last)}
    _expect(
        problems,
        last["ok"] and last["tables"]["observations"]["rows"] == count,
        "the run after kills",
    )

    result["nothing_new"] = brief(killed.run("--no-index"))
    _expect(problems, result["nothing_new"]["sent"] == 0, "a run with nothing new sent something")
    more = max(count // 100, 1)
    fill(path, corpus, count, more)
    gone = forget_some(path, 10)
    again = killed.run("--no-index")
    result["one_percent_more_and_20_forgotten"] = brief(again)
    _expect(problems, again["ok"] and again["removed"] == len(gone), "the run for what is new")
    result["problems"] = problems
    return result


def _expect(problems: list[str], fact: bool, what: str) -> None:
    if not fact:
        problems.append(what)


if __name__ == "__main__":
    sys.exit(main())
