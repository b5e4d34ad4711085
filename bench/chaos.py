"""Whatever of a deployment is killed, or stands still: what callers see, how long it takes, and that nothing is lost.

    python -m bench.chaos [--quick] [--seed N]

Two `claude-mem serve` of two processes each, three tenants that hand in events and search meanwhile, on servers that
flush what they commit. One fault after the other: a replica, a whole `serve`, Redis, NATS and PostgreSQL are killed
(SIGKILL) and started again, and each stands still (SIGSTOP) for two seconds. A client repeats a batch, with the same
ids, until it is answered with 202. At the end every such event must be in the tables, once; asked as the superuser.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import secrets
import signal
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.deployed import durable_deployment, test_module
from bench.durability import eventually, marker
from bench.report import facts, write

_TENANTS = 3
_PROCESSES = 2  # of each `serve`
_TIMEOUT_S = 20.0
_SEARCH_EVERY_S = 0.6  # below the limit of a person
_STALL_S = 2.0
_PATIENCE_S = 60.0
_ALLOWED_S = 10.0  # until everything is well again
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a caller was answered: `what` it did, how it ended, when and how long it took (seconds)."""

    what: str
    how: str
    at: float
    took: float


@dataclass(slots=True)
class Books:
    """What was promised, by tenant, and everything that was seen."""

    promised: dict[str, set[str]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, how: str, began: float) -> None:
        """An answer, or none."""
        with self.lock:
            self.seen.append(Seen(what, how, began, time.monotonic() - began))

    def between(self, since: float, until: float) -> list[Seen]:
        """What ended in a span of time."""
        with self.lock:
            return [one for one in self.seen if since <= one.at + one.took < until]


class Caller(threading.Thread):
    """A tenant's client: hands in (or searches), at one `serve` and the other in turn, until told to end."""

    def __init__(self, books: Books, tenant: Any, ports: list[int], seed: int, what: str) -> None:
        super().__init__(daemon=True)
        self._books, self._tenant, self._ports, self._what = books, tenant, ports, what
        self._rng = random.Random(seed)
        self._ending = threading.Event()
        self._calls = 0
        books.promised.setdefault(tenant.id, set())

    def end(self) -> None:
        """Finish what was begun; what was not answered until then was not promised."""
        self._ending.set()

    def run(self) -> None:
        """See threading.Thread."""
        while not self._ending.is_set():
            if self._what == "search":
                self._call("GET", "/api/v1/search?q=ledger+round")
                self._ending.wait(_SEARCH_EVERY_S)
            else:
                self._hand_in()
                self._ending.wait(self._rng.random() * 0.1)

    def _hand_in(self) -> None:
        prompt = test_module("deployment").prompt
        session = f"s{self._rng.randrange(5)}"
        words = [marker(self._rng) for _ in range(self._rng.randint(1, 10))]
        events = [prompt(session, f"Why does the ledger round {word}?") for word in words]
        body = json.dumps({"events": events}).encode()
        while not self._ending.is_set():
            if self._call("POST", "/api/v1/events", body) == 202:
                with self._books.lock:
                    self._books.promised[self._tenant.id].update(it["id"] for it in events)
                return
            self._ending.wait(0.1)

    def _call(self, method: str, path: str, body: bytes | None = None) -> int:
        self._calls += 1
        port = self._ports[self._calls % len(self._ports)]
        began = time.monotonic()
        try:
            status, retry = ask(port, method, path, self._tenant.key, body)
        except TimeoutError:
            self._books.note(self._what, "no answer in time", began)
            return 0
        except (OSError, http.client.HTTPException):
            self._books.note(self._what, "no connection", began)
            return 0
        told = " with Retry-After" if status >= 400 and retry else ""
        self._books.note(self._what, f"{status}{told}", began)
        return status


def ask(
    port: int, method: str, path: str, key: str | None = None, body: bytes | None = None
) -> tuple[int, bool]:
    """(status, whether it says when to come again), over a connection of its own: any process may answer."""
    status, retry, _ = _answer(port, method, path, key, body)
    return status, retry


def _answer(
    port: int, method: str, path: str, key: str | None, body: bytes | None
) -> tuple[int, bool, bytes]:
    # The standard library's client: a richer one costs more than what it asks, and these share the machine.
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        line.request(method, path, body, {"Authorization": f"Bearer {key}"} if key else {})
        answer = line.getresponse()
        return answer.status, answer.getheader("Retry-After") is not None, answer.read()
    finally:
        line.close()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong; `begin` and `end` make it so. `allowed` is what callers may be answered meanwhile."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    lasts_s: float
    ingest: frozenset[str] = frozenset({"202"})
    search: frozenset[str] = frozenset({"200"})


class Chaos:
    """A deployment under load that faults happen to."""

    def __init__(self, deployed: Any, seed: int, say: Say, *, timed: bool) -> None:
        self.deployed, self.say, self.timed = deployed, say, timed
        self.serving = [deployed.serve(_PROCESSES) for _ in range(2)]
        self.tenants = [deployed.found(f"tenant-{number}") for number in range(_TENANTS)]
        self.ports = [one.port for one in self.serving]
        self.books = Books()
        self.problems: list[str] = []
        self.expected_ends = 0
        self.callers = [
            Caller(self.books, tenant, self.ports, seed + 10 * number + len(what), what)
            for number, tenant in enumerate(self.tenants)
            for what in ("ingest", "search")
        ]

    def run(self, faults: list[Fault], steady_s: float) -> list[dict[str, Any]]:
        """Each fault in turn: what was seen before, meanwhile and after it."""
        for caller in self.callers:
            caller.start()
        try:
            eventually(self._is_well, "well at the beginning")
            return [self._one(fault, steady_s) for fault in faults]
        finally:
            for caller in self.callers:
                caller.end()
            for caller in self.callers:
                caller.join(2 * _TIMEOUT_S)

    def _one(self, fault: Fault, steady_s: float) -> dict[str, Any]:
        start = time.monotonic()
        time.sleep(steady_s)
        began = time.monotonic()
        fault.begin()
        time.sleep(max(0.0, began + fault.lasts_s - time.monotonic()))
        fault.end()
        ended = time.monotonic()
        eventually(self._is_well, f"well again after: {fault.name}", _PATIENCE_S)
        well = time.monotonic()
        self._recorded_again()
        recorded = time.monotonic()
        time.sleep(steady_s)
        report = {
            "fault": fault.name,
            "lasted_s": round(ended - began, 2),
            "healthy_after_s": round(well - ended, 2),
            "recording_after_s": round(recorded - ended, 2),
            "before": _summary(self.books.between(start, began), began - start),
            "meanwhile": _summary(self.books.between(began, recorded), recorded - began),
            "after": _summary(self.books.between(recorded, time.monotonic()), steady_s),
        }
        self._judge(fault, report)
        self.say(f"{fault.name}: healthy after {report['healthy_after_s']} s")
        return report

    def _judge(self, fault: Fault, report: dict[str, Any]) -> None:
        if self.timed and report["recording_after_s"] > _ALLOWED_S:
            self.problems.append(
                f"{fault.name}: recording {report['recording_after_s']} s after its end"
            )
        allowed = {"ingest": fault.ingest, "search": fault.search}
        usual = {"ingest": {"202"}, "search": {"200"}}
        for span, may in (("before", usual), ("meanwhile", allowed), ("after", usual)):
            for what in may:
                strange = set(report[span][what]["answers"]) - may[what]
                if strange:
                    self.problems.append(
                        f"{fault.name}, {span}: {what} was answered {sorted(strange)}"
                    )

    def _is_well(self) -> bool:
        """Whether every `serve` has all its processes, and whoever of them is asked says that all is well."""
        if not all(len(one.children()) == _PROCESSES for one in self.serving):
            return False
        return all(_says_healthy(port) for port in self.ports for _ in range(2 * _PROCESSES))

    def _recorded_again(self) -> None:
        """Return when an event that is handed in now is a row, for each tenant."""
        probes: list[str] = []
        prompt = test_module("deployment").prompt
        for tenant, port in zip(self.tenants, self.ports * 2, strict=False):
            event = prompt("probe", "Is the ledger kept again?")
            body = json.dumps({"events": [event]}).encode()
            status, _ = ask(port, "POST", "/api/v1/events", tenant.key, body)
            if status != 202:
                self.problems.append(f"well, and yet an event was answered with {status}")
                continue
            with self.books.lock:
                self.books.promised[tenant.id].add(event["id"])
            probes.append(event["id"])
        listed = ", ".join(f"'{probe}'" for probe in probes)
        query = f"SELECT event_id FROM ingested_events WHERE event_id IN ({listed})"
        if probes:
            eventually(lambda: len(self._ask(query)) == len(probes), "recorded again", _PATIENCE_S)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.deployed.postgres.execute(query, self.deployed.urls.name)
        return rows

    # -- faults ---------------------------------------------------------------------------------------

    def faults(self, away_s: float) -> list[Fault]:
        """All of them."""
        deployed = self.deployed
        no_answer = frozenset({"202", "no connection"})
        refused = frozenset({"202", "503 with Retry-After"})
        failed = frozenset({"200", "503 with Retry-After"})
        broken = frozenset({"200", "no connection"})
        redis, nats, postgres = deployed.redis, deployed.nats, deployed.postgres
        replica = self.serving[0]
        held: list[int] = []

        def hold() -> None:
            held.append(replica.children()[0])
            os.kill(held[0], signal.SIGSTOP)

        return [
            Fault("replica killed", self._kill_replica, _nothing, 0.0, no_answer, broken),
            Fault("serve killed", self._kill_serve, self._serve_again, 0.0, no_answer, broken),
            Fault("redis killed", redis.kill, redis.start, away_s),
            Fault("nats killed", nats.kill, nats.start, away_s, refused),
            Fault("postgresql killed", postgres.kill, postgres.start, away_s, refused, failed),
            Fault("replica stalled", hold, lambda: os.kill(held[0], signal.SIGCONT), _STALL_S),
            Fault("redis stalled", redis.pause, redis.resume, _STALL_S),
            Fault("nats stalled", nats.pause, nats.resume, _STALL_S, refused),
            Fault("postgresql stalled", postgres.pause, postgres.resume, _STALL_S, refused, failed),
        ]

    def _kill_replica(self) -> None:
        self.expected_ends += 1
        victim = self.serving[0].children()[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in self.serving[0].children(), "its end is noticed")

    def _kill_serve(self) -> None:
        self.serving[1].process.kill()
        self.serving[1].process.wait()

    def _serve_again(self) -> None:
        """As a service manager does: again and again, for the port is taken until the last of the old ones ended."""
        # One of the old ones that still answers must not be taken for the new.
        eventually(lambda: not _listens(self.ports[1]), "the old ones have ended", _PATIENCE_S)
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            again = self.deployed.serve(_PROCESSES, self.ports[1])
            if again.process.poll() is None:
                self.serving[1] = again
                return
            time.sleep(0.2)
        raise AssertionError("the port stays taken")

    # -- the books ------------------------------------------------------------------------------------

    def audit(self) -> dict[str, Any]:
        """Compare what was promised with the tables; anything wrong goes to `problems`."""
        lost = doubled = promised = 0
        for tenant in self.tenants:
            wanted = self.books.promised[tenant.id]
            promised += len(wanted)
            mine = f"FROM prompts WHERE enterprise_id = '{tenant.id}'"
            with contextlib.suppress(AssertionError):  # what is missing then is told
                eventually(lambda: not self._missing(tenant.id, wanted), "all is recorded")  # noqa: B023 - run at once
            missing = self._missing(tenant.id, wanted)
            lost += len(missing)
            self.problems += [self._became_of(tenant.id, event_id) for event_id in sorted(missing)]
            rows = Counter(str(row[0]) for row in self._ask(f"SELECT event_id {mine}"))
            doubled += sum(count > 1 for count in rows.values())
        for what, query in _WHOLE.items():
            if found := self._ask(query)[0][0]:
                self.problems.append(f"{what}: {found}")
        if lost or doubled:
            self.problems.append(
                f"{lost} of {promised} promised events are lost, {doubled} doubled"
            )
        ends = sum(one.log.read_text(errors="replace").count("ended (exit") for one in self.serving)
        if ends != self.expected_ends:
            self.problems.append(f"processes ended by themselves: {ends - self.expected_ends}")
        return {"acknowledged": promised, "lost": lost, "doubled": doubled}

    def _became_of(self, tenant: str, event_id: str) -> str:
        """What can be said of an event that was promised and is no row."""
        query = f"SELECT 1 FROM ingested_events WHERE enterprise_id = '{tenant}' AND event_id = '{event_id}'"
        logs = [one.log.read_text(errors="replace").splitlines() for one in self.serving]
        told = [line[:300] for log in logs for line in log if event_id in line]
        known = "known, but made nothing" if self._ask(query) else "never recorded"
        return f"{event_id}: {known}; of it the replicas told: {told or 'nothing'}"

    def _missing(self, tenant: str, wanted: set[str]) -> set[str]:
        query = f"SELECT event_id FROM ingested_events WHERE enterprise_id = '{tenant}'"
        known = {str(row[0]) for row in self._ask(query)}
        made = f"SELECT event_id FROM prompts WHERE enterprise_id = '{tenant}'"
        return wanted - (known & {str(row[0]) for row in self._ask(made)})


_WHOLE = {
    "rows that the text index does not hold": (
        "SELECT count(*) FROM prompts p WHERE NOT EXISTS (SELECT FROM search_documents d"
        " WHERE d.enterprise_id = p.enterprise_id AND d.entity_id = p.id)"
    ),
    "documents that cannot be searched": (
        "SELECT count(*) FROM search_documents d WHERE NOT EXISTS (SELECT FROM search_index i"
        " WHERE i.enterprise_id = d.enterprise_id AND i.number = d.id)"
    ),
    "things that the text index holds twice": (
        "SELECT count(*) FROM (SELECT 1 FROM search_documents GROUP BY enterprise_id, kind, entity_id"
        " HAVING count(*) > 1) AS twice"
    ),
    "sessions that miscount their prompts": (
        "SELECT count(*) FROM sessions s WHERE prompt_count <> (SELECT count(*) FROM prompts p"
        " WHERE p.enterprise_id = s.enterprise_id AND p.session_id = s.id)"
    ),
}


def _nothing() -> None:
    """It comes back by itself."""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _says_healthy(port: int) -> bool:
    try:
        _, _, body = _answer(port, "GET", "/health", None, None)
    except (OSError, http.client.HTTPException):
        return False
    return bool(json.loads(body).get("status") == "healthy")


def _summary(seen: list[Seen], seconds: float) -> dict[str, Any]:
    """Answers by kind, a second, and how long they took (ms)."""
    found: dict[str, Any] = {}
    for what in ("ingest", "search"):
        mine = [one for one in seen if one.what == what]
        took = sorted(one.took * 1000 for one in mine)
        found[what] = {
            "answers": dict(Counter(one.how for one in mine)),
            "per_s": round(len(mine) / max(seconds, 0.001), 1),
            "p50_ms": round(statistics.median(took), 1) if took else None,
            "longest_ms": round(took[-1], 1) if took else None,
        }
    return found


def run(seed: int, say: Say, *, quick: bool = False) -> dict[str, Any]:
    """Every fault, the quick way or with longer times without; what was seen, and `problems`."""
    steady_s, away_s = (0.5, 1.0) if quick else (5.0, 8.0)
    before = [round(load, 1) for load in os.getloadavg()]
    with durable_deployment() as deployed:
        chaos = Chaos(deployed, seed, say, timed=not quick)  # a test never looks at the clock
        faults = chaos.run(chaos.faults(away_s), steady_s)
        books = chaos.audit()
        return {
            "seed": seed,
            "load_average": before,
            **books,
            "faults": faults,
            "problems": chaos.problems,
        }


def main() -> int:
    """Measure, print, write bench/results/chaos.json (unless it was a quick one)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="shorter; printed, not kept")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    result = facts() | run(seed, partial(print, file=sys.stderr, flush=True), quick=options.quick)
    write("chaos-quick" if options.quick else "chaos", result, as_json=options.json)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
