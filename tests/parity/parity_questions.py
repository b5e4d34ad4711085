"""Everything the domains read, asked of one engine: question -> answer, as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from parity_support import NOW, SCOPE, Row, Side, all_sessions

from claude_mem.domains.access import service as access
from claude_mem.domains.capture import reindex
from claude_mem.domains.capture import repository as positions
from claude_mem.domains.context import repository as given
from claude_mem.domains.context.model import Ask
from claude_mem.domains.memory import recent, service, timeline
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.model import Filters, Query
from claude_mem.kernel.errors import MemError
from claude_mem.ports.database import Tx

NO_ID = "nobody's"  # no UUID: as text it equals nothing, and is no error of the engine's
UPPER = "01A1EE56-5E00-7425-A92F-FD3E81C708DE"
_SESSION_TABLES = ("prompts", "observations", "code_changes", "summaries")
# Each finds fewer than are scored: of more, engines may well look at others.
_QUERIES = (
    "reminder",
    "booking time zone",
    "why sqlite",
    "config*",
    '"time zone"',
    "test -reminder",
    "caught",  # said in other forms, too
    "hel*",
    "测试",
    "提醒",  # of which the sample has the translation only
    "zzz-nothing",
)


async def answers(side: Side) -> dict[str, object]:
    """Each question in a read of its own."""
    found: dict[str, object] = {}
    for name, question in _QUESTIONS.items():
        found[name] = await side.read(lambda tx, ask=question: plain(list(ask(side, tx))))
    return found


def plain(value: Any) -> Any:
    """Frozen values as what they hold, in an order of their own."""
    if is_dataclass(value):
        return [type(value).__name__, *(plain(getattr(value, it.name)) for it in fields(value))]
    if isinstance(value, Mapping):
        return sorted(([plain(key), plain(inner)] for key, inner in value.items()), key=repr)
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return sorted(value) if isinstance(value, frozenset) else value


def _or_error(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except MemError as error:
        return f"{type(error).__name__}: {error.message}"


def _pages(read: Callable[[Any], list[Row]], moment: str) -> Iterator[list[Row]]:
    after = None
    while page := read(after):
        yield page
        after = (page[-1][moment], page[-1]["id"])


def _lists(_: Side, tx: Tx) -> Iterator[Any]:
    yield access.projects(SCOPE, tx)
    yield service.counts(SCOPE, tx)
    for project in [*access.projects(SCOPE, tx), {"id": NO_ID}, {"id": UPPER}]:
        yield access.match_projects(SCOPE, tx, project["id"])
        yield access.match_projects(SCOPE, tx, project.get("name", ""))
        yield from _pages(
            lambda after, its=project["id"]: service.list_sessions(
                SCOPE, tx, project_id=its, after=after, limit=3
            ),
            "last_activity_at",
        )
    for session in all_sessions(tx):
        for table in _SESSION_TABLES:
            yield from _pages(
                lambda after, its=session["id"], of=table: service.list_of_session(
                    SCOPE, tx, of, its, after=after, limit=7
                ),
                "occurred_at",
            )


def _single(_: Side, tx: Tx) -> Iterator[Any]:
    sessions = all_sessions(tx)
    for name in [*(row["id"] for row in sessions), sessions[0]["agent_session"], NO_ID, UPPER]:
        for given_as in (name, recent.short_id(name)):
            yield _or_error(lambda its=given_as: service.get_session(SCOPE, tx, its))
    for kind, row in _things(tx):
        yield service.get_entity(SCOPE, tx, kind, row["id"])
        yield list(service.history(SCOPE, tx, kind, row["id"]))
    yield _or_error(lambda: service.get_entity(SCOPE, tx, "prompt", NO_ID))
    ids = [row["id"] for _, row in _things(tx)]
    yield timeline.find_any(SCOPE, tx, [*ids, *map(recent.short_id, ids), NO_ID, UPPER])
    refs = [EntityRef(kind, row["id"]) for kind, row in _things(tx)]
    yield list(service.get_many(SCOPE, tx, [EntityRef("prompt", NO_ID), *refs]).items())
    yield service.uses(SCOPE, tx, [EntityRef("session", row["id"]) for row in sessions])


def _things(tx: Tx) -> list[tuple[str, Row]]:
    """Some of every kind."""
    kinds = {
        "prompts": "prompt",
        "observations": "observation",
        "code_changes": "code_change",
        "summaries": "summary",
        "learnings": "learning",
    }
    return [
        (kind, row)
        for table, kind in kinds.items()
        for row in service.export_page(SCOPE, tx, table, after=None, since=None, project_id=None)[
            ::9
        ]
    ]


def _timelines(_: Side, tx: Tx) -> Iterator[Any]:
    for session in all_sessions(tx):
        yield timeline.of_session(SCOPE, tx, session["id"], 20)
        yield recent.latest_messages(SCOPE, tx, session["id"], 5)
        yield recent.latest_observations(SCOPE, tx, session["id"], 5)
        yield recent.latest_changes(SCOPE, tx, session["id"], 5)
    for _, row in _things(tx):
        yield _or_error(lambda its=row["id"]: timeline.around(SCOPE, tx, its, 3, 4))
        event = row.get("event_id") or NO_ID
        yield timeline.made_of(SCOPE, tx, event)


def _exports(_: Side, tx: Tx) -> Iterator[Any]:
    projects = [None, NO_ID, *(row["id"] for row in access.projects(SCOPE, tx))]
    since = [None, NOW - 10 * 86_400_000, 1 << 61]
    for table in service.exported_tables():
        for project in projects:
            for moment in since:
                yield service.export_page(
                    SCOPE, tx, table, after=None, since=moment, project_id=project
                )
    yield list(reindex.entries(SCOPE, tx))


def _distilled(_: Side, tx: Tx) -> Iterator[Any]:
    for project in [None, *(row["id"] for row in access.projects(SCOPE, tx))]:
        yield service.latest_summaries(SCOPE, tx, project, 20)
        yield from _pages(
            lambda after, its=project: service.learnings(SCOPE, tx, its, after=after, limit=4),
            "occurred_at",
        )
        yield service.learnings(SCOPE, tx, project, category="best_practice")
    yield service.summaries_of(SCOPE, tx, [row["id"] for row in all_sessions(tx)][:3])
    for session in all_sessions(tx):
        yield service.session_material(SCOPE, tx, session["id"])
        summary = service.summary_of(SCOPE, tx, session["id"])
        yield summary and service.summary_versions(SCOPE, tx, summary["id"])
        yield service.summary_is_forgotten(SCOPE, tx, session["id"])
        yield service.compactions_since(SCOPE, tx, session["id"], 0)


def _recording(_: Side, tx: Tx) -> Iterator[Any]:
    """What is asked before something is recorded or forgotten."""
    sessions = all_sessions(tx)
    ids = [row["id"] for row in sessions]
    yield service.last_turn(SCOPE, tx, None)
    yield sorted(service.known_events(SCOPE, tx, [*ids, sessions[0]["id"]]))
    yield service.forgotten_turns(SCOPE, tx, ids)
    for row in sessions:
        yield service.find_session(SCOPE, tx, row["agent"], row["agent_session"])
        yield service.latest_prompt(SCOPE, tx, row["id"], row["last_activity_at"])
        yield service.prompted_since(SCOPE, tx, row["id"], row["started_at"], 1 << 61)
        since = service.entities_since(SCOPE, tx, row["id"], row["started_at"])
        yield sorted((ref.kind, ref.id) for ref in since)
    yield positions.position(SCOPE, tx, "/a/transcript")
    for agent in ("agent-1", "agent-2"):
        units, since_when = given.given_units(SCOPE, tx, agent)
        yield sorted(units), since_when


def _searches(side: Side, tx: Tx) -> Iterator[Any]:
    project = access.projects(SCOPE, tx)[0]["name"]
    session = all_sessions(tx)[0]["agent_session"]
    for text in _QUERIES:
        for query in (
            Query(text),
            Query(text, Filters(kind="prompt"), limit=5),
            Query(text, project=project, limit=5, offset=2),
            Query(text, session=session),
            Query(text, project=NO_ID),
        ):
            found = side.search.find(SCOPE, tx, query, NOW)
            yield text, found.hits, found.total, found.total_is_estimate, found.dropped


def _contexts(side: Side, tx: Tx) -> Iterator[Any]:
    for project in access.projects(SCOPE, tx):
        for query in (None, "Why does the reminder test fail?", "add a command for exports"):
            for budget in (400, 1500):
                ask = Ask(project["id"], project["name"], query, budget, now=NOW, with_working=True)
                yield side.context.assemble(SCOPE, tx, ask)


_QUESTIONS: dict[str, Callable[[Side, Tx], Iterator[Any]]] = {
    "lists": _lists,
    "single": _single,
    "timelines": _timelines,
    "exports": _exports,
    "distilled": _distilled,
    "recording": _recording,
    "searches": _searches,
    "contexts": _contexts,
}
