"""Two enterprises in one store: no read of one returns anything of the other.

The public functions of services and repositories are found by looking, so that a new one joins by itself: it is called
in the scope of the second enterprise with everything the first one has, and must find nothing. A parameter whose name
is new here is a test failure that asks for a value.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from api_support import Api, running
from no_reads import NO_READS

from claude_mem import domains
from claude_mem.domains.access import keys, organisation
from claude_mem.domains.access import repository as access_tables
from claude_mem.domains.access.model import NewKey, Origin
from claude_mem.domains.capture.repository import keep_position
from claude_mem.domains.context.model import Ask
from claude_mem.domains.context.repository import note_given
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef, NewLearning, SessionSummary
from claude_mem.domains.memory.repository.forgetting import keep_out
from claude_mem.domains.retrieval.hybrid import NO_MEANING
from claude_mem.domains.retrieval.model import Query
from claude_mem.domains.retrieval.repository import collection
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, LOCAL_SOLUTION, Scope, local_scope
from claude_mem.ports.database import Tx

pytestmark = pytest.mark.anyio

OURS = local_scope()
THEIRS = Scope(
    "00000000-0000-7000-8000-0000000000aa",
    "00000000-0000-7000-8000-0000000000ab",
    ALL_PERMISSIONS,
)
NOW = now_ms()
WORD = "zanzibar"  # in everything of ours
ORIGIN = Origin(None, None, 0.0)
TABLES = ("sessions", "prompts", "observations", "code_changes", "summaries", "learnings")
KINDS = ("session", "prompt", "observation", "code_change", "summary", "learning")

# Where a name means something else than elsewhere.
MEANT: dict[str, dict[str, list[Any]]] = {
    "memory.service.session_rows": {"kind": list(KINDS[1:]), "session_id": [None]},
    "memory.repository.reading.index_page": {"kind": list(KINDS[1:]), "session_id": [None]},
    "retrieval.repository.numbers_page": {"after": [0]},
    "memory.service.changes": {"after": ["00000000-0000-0000-0000-000000000000"]},
    "memory.repository.journal.after": {"entry_id": ["00000000-0000-0000-0000-000000000000"]},
    "memory.repository.timeline.beside": {"at": [0], "later": [True]},
    "memory.service.latest_summaries": {"limit": [10]},
    "access.repository.user_is_taken": {"user_id": [THEIRS.user_id]},
}


@dataclass
class Known:
    """Everything of ours that somebody could name to ask for it."""

    values: dict[str, list[Any]]


@pytest.fixture
async def filled(tmp_path: Path) -> Any:
    async with running(tmp_path / "data") as api:
        await api.take(
            api.event(data={"content": f"Where is {WORD}?", "prompt_id": "p-1"}),
            api.event(data={"content": f"And where is {WORD} now?", "prompt_id": "p-2"}),
            api.event(
                "tool.used",
                data={
                    "tool": "Write",
                    "tool_use_id": "t-1",
                    "input": {"file_path": f"/x/{WORD}.py", "content": f"{WORD} = 1\n"},
                    "response": {},
                },
            ),
            api.event("context.compacted", data={"summary": f"About {WORD}"}),
        )
        await write(api, lambda tx: keep_position(OURS, tx, "/x.jsonl", {"at": 1}, 1))
        await write(api, forget_nothing)
        given = [("prompt", new_id(), "0123456789abcdef")]
        await write(api, lambda tx: note_given(OURS, tx, "session-one", given, "SessionStart", 1))
        await api.nothing_to_do()  # a summary would take what `distil` makes for outdated
        await write(api, distil)
        await write(api, organise)
        await write(api, make_their_enterprise)
        yield api


def organise(tx: Tx) -> None:
    """A key, a solution, and a role with a member of ours."""
    keys.make(OURS, tx, ORIGIN, NewKey(OURS.user_id, WORD))
    organisation.make_solution(OURS, tx, ORIGIN, WORD)
    [project_id] = column(tx, "SELECT id FROM projects")
    role = organisation.make_role(OURS, tx, ORIGIN, project_id, WORD, is_supervisor=False)
    organisation.put_member(OURS, tx, ORIGIN, project_id, OURS.user_id, role["id"])


def forget_nothing(tx: Tx) -> None:
    """A mark that something is not to come back, while all of it stays."""
    [session_id] = column(tx, "SELECT id FROM sessions")
    keep_out(OURS, tx, session_id, 0, now_ms())


def distil(tx: Tx) -> None:
    """A summary and a learning of ours, and a use of them."""
    [session_id] = column(tx, "SELECT id FROM sessions")
    [project_id] = column(tx, "SELECT id FROM projects")
    said: dict[str, Any] = {"session_id": session_id, "title": WORD, "occurred_at": now_ms()}
    summary = SessionSummary(
        **said,
        content=WORD,
        key_points=(WORD,),
        action_items=(),
        details={},
        covers={},
        model_used="extractive",
        quality=0.5,
    )
    learning = NewLearning(
        **said,
        project_id=project_id,
        category="general",
        description=WORD,
        fingerprint="f",
        context={},
        examples=(),
        tags=(),
        refs=(),
        confidence=0.5,
        importance=0.5,
    )
    refs = [
        EntityRef("summary", memory.save_summary(OURS, tx, summary)),
        EntityRef("learning", memory.save_learning(OURS, tx, learning)[0]),
    ]
    memory.note_use(OURS, tx, refs, now_ms())


def make_their_enterprise(tx: Tx) -> None:
    """As theirs will be: an enterprise with a user, and nothing remembered yet."""
    access_tables.make_enterprise(
        tx,
        enterprise_id=THEIRS.enterprise_id,
        solution_id=LOCAL_SOLUTION,  # the one that new projects go to
        user_id=THEIRS.user_id,
        now=now_ms(),
    )


async def read(api: Api, work: Callable[[Tx], Any], scope: Scope = THEIRS) -> Any:
    return await api.system.parts.state["database"].read(scope, work)


async def write(api: Api, work: Callable[[Tx], Any], scope: Scope = THEIRS) -> Any:
    return await api.system.parts.state["database"].write(scope, work)


def column(tx: Tx, sql: str) -> list[Any]:
    return [row[0] for row in tx.exec_driver_sql(sql).all()]


def all_of_ours(tx: Tx) -> Known:
    ids = {
        kind: column(tx, f"SELECT id FROM {table}")
        for kind, table in zip(KINDS, TABLES, strict=True)
    }
    assert all(ids.values()), ids
    refs = [EntityRef(kind, each) for kind, found in ids.items() for each in found]
    keys = tx.exec_driver_sql("SELECT session_id, key FROM natural_keys").all()
    return Known(
        {
            "event_ids": [column(tx, "SELECT event_id FROM ingested_events")],
            "event_id": column(tx, "SELECT event_id FROM ingested_events"),
            "keys_by_session": [{session: [key for _, key in keys] for session, _ in keys}],
            "agent": ["claude-code"],
            "agent_session": ["session-one"],
            "session_id": [*ids["session"], "session-one"],
            "session_ids": [ids["session"]],
            "gone": [{each} for each in ids["prompt"]],
            "observation_id": ids["observation"],
            "until": [now_ms() + 1_000_000],
            "before": [now_ms() + 1_000_000],
            "refs": [refs],
            "project_id": [None, *column(tx, "SELECT id FROM projects")],
            "meaning": [NO_MEANING],
            "project_ids": [column(tx, "SELECT id FROM projects")],
            "after": [None],
            "limit": [1000],
            "messages": [20],
            "given": [frozenset()],
            "told": [()],
            "shorts": [[it[:8] + it[-4:] for found in ids.values() for it in found]],
            "ask": [
                Ask(project_id=it, query=query, now=now_ms())
                for it in column(tx, "SELECT id FROM projects")
                for query in (None, WORD)
            ],
            "table": list(TABLES[1:]),
            "table_name": list(TABLES[1:]),
            "kind": list(KINDS),
            "summary_id": ids["summary"],
            "category": [None],
            "ref": [EntityRef("summary", each) for each in ids["summary"]],
            "entity_id": [each for found in ids.values() for each in found],
            "since": [0],
            "key": ["ledger"],
            "wanted": ["ledger", *column(tx, "SELECT id FROM projects")],
            "path": column(tx, "SELECT path FROM transcript_positions"),
            "user_id": [OURS.user_id],
            "key_id": column(tx, "SELECT id FROM api_keys"),
            "key_hash": column(tx, "SELECT key_hash FROM api_keys"),
            "username": ["local"],
            "name": [WORD],
            "solution_id": column(tx, f"SELECT id FROM solutions WHERE name = '{WORD}'"),
            "role_id": column(tx, "SELECT id FROM roles"),
            "email": [None],
            "active": [None],
            "offset": [0],
            "numbers": [column(tx, "SELECT id FROM search_documents")],
            "now": [NOW],
            "query": [Query(WORD), Query(WORD, session="session-one")],
        }
    )


def modules() -> Iterator[Any]:
    for domain in pkgutil.iter_modules(domains.__path__):
        if not domain.ispkg:
            continue
        package = importlib.import_module(f"{domains.__name__}.{domain.name}")
        for part in pkgutil.iter_modules(package.__path__):
            if part.name not in {"service", "repository"}:
                continue
            module = importlib.import_module(f"{package.__name__}.{part.name}")
            if part.ispkg:
                for inner in pkgutil.iter_modules(module.__path__):
                    yield importlib.import_module(f"{module.__name__}.{inner.name}")
            else:
                yield module


def public_functions() -> dict[str, tuple[Any, Any]]:
    """name -> (class or None, function) of everything public with a scope."""
    found: dict[str, tuple[Any, Any]] = {}
    for module in modules():
        short = module.__name__.removeprefix(f"{domains.__name__}.")
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
                continue
            if inspect.isfunction(thing) and "scope" in inspect.signature(thing).parameters:
                found[f"{short}.{name}"] = (None, thing)
            if inspect.isclass(thing):
                for inner, method in vars(thing).items():
                    if (
                        not inner.startswith("_")
                        and inspect.isfunction(method)
                        and "scope" in inspect.signature(method).parameters
                    ):
                        found[f"{short}.{name}.{inner}"] = (thing, method)
    return found


READS = sorted(set(public_functions()) - set(NO_READS))


def test_there_are_reads_to_ask() -> None:
    assert len(READS) >= 20
    assert {name.split(".")[0] for name in READS} >= {"access", "memory", "retrieval", "capture"}
    gone = set(NO_READS) - set(public_functions())
    no_scope = {"access.service.make_local_organisation", "access.repository.make_enterprise"}
    assert gone <= no_scope, f"no longer there: {gone - no_scope}"


def combinations(name: str, function: Any, known: Known, bound: bool) -> Iterator[dict[str, Any]]:
    """Every way to fill the parameters with what is ours, one list of values after the other."""
    values = known.values | MEANT.get(name, {})
    wanted = [it for it in inspect.signature(function).parameters if it not in {"scope", "tx"}]
    if bound:
        wanted.remove("self")
    for parameter in wanted:
        assert parameter in values, f"{name}: give the parameter {parameter} a value"
    longest = max((len(values[parameter]) for parameter in wanted), default=1)
    for turn in range(longest):
        yield {it: values[it][turn % len(values[it])] for it in wanted}


def is_nothing(answer: Any) -> bool:
    if hasattr(answer, "hits"):
        return answer.hits == () and answer.total == 0
    if hasattr(answer, "items") and hasattr(answer, "omitted"):
        return answer.text == "" and answer.items == () and answer.omitted == 0
    if isinstance(answer, tuple):
        return all(map(is_nothing, answer))
    if hasattr(answer, "title_tokens"):
        return answer.documents == answer.title_tokens == answer.body_tokens == 0
    if hasattr(answer, "documents"):
        return answer.documents == 0
    if isinstance(answer, dict):
        return all(value == 0 for value in answer.values())
    return not answer


def drawn(answer: Any) -> Any:
    """Iterators have to be run dry inside the transaction."""
    return list(answer) if isinstance(answer, Iterator) else answer


async def ask(api: Api, name: str, scope: Scope, known: Known) -> list[Any]:
    """Every answer of a function in a scope; NotFound is an answer of nothing."""
    owner, function = public_functions()[name]
    instance = None
    if owner is not None:
        states = api.system.parts.state.values()
        instance = next(value for value in states if isinstance(value, owner))
    answers: list[Any] = []
    for arguments in combinations(name, function, known, owner is not None):
        first = [instance] if instance is not None else []
        try:
            if inspect.iscoroutinefunction(function):
                answers.append(await function(*first, scope, **arguments))
            else:

                def work(tx: Tx, arguments: Any = arguments, first: Any = first) -> Any:
                    return drawn(function(*first, scope, tx, **arguments))

                answers.append(await read(api, work, scope))
        except NotFound:
            answers.append(None)
    return answers


async def test_a_read_finds_nothing_of_another_enterprise(filled: Api) -> None:
    known = await read(filled, all_of_ours)
    told = {}
    for name in READS:
        answers = await ask(filled, name, THEIRS, known)
        assert answers, name
        if not all(map(is_nothing, answers)):
            told[name] = answers
    assert told == {}


async def test_the_same_read_finds_it_in_its_own_scope(filled: Api) -> None:
    """So that the test above cannot pass because it asks for nothing."""
    known = await read(filled, all_of_ours)
    silent = []
    for name in READS:
        answers = await ask(filled, name, OURS, known)
        if all(map(is_nothing, answers)):
            silent.append(name)
    assert silent == []


async def fill_theirs(api: Api) -> None:
    event = api.event(data={"content": f"Their own {WORD}"})
    await api.system.parts.state["capture"].accept(THEIRS, [event])
    await api.settle()


async def test_the_same_event_of_both_is_an_event_of_each(filled: Api) -> None:
    event = filled.event(data={"content": f"Said by both: {WORD}", "prompt_id": "same"})
    capture = filled.system.parts.state["capture"]
    await capture.accept(OURS, [event])
    await filled.settle()
    receipt = await capture.accept(THEIRS, [event])
    await filled.settle()
    assert receipt.accepted == 1, "an id is known within its enterprise only"
    sql = "SELECT enterprise_id FROM prompts WHERE content LIKE 'Said by both%' ORDER BY 1"
    assert await read(filled, lambda tx: column(tx, sql)) == [
        OURS.enterprise_id,
        THEIRS.enterprise_id,
    ]


async def test_search_statistics_are_an_enterprises_own(filled: Api) -> None:
    """How frequent a word is elsewhere must not move a score here."""
    before = await read(filled, lambda tx: collection(OURS, tx), OURS)
    search = filled.system.parts.state["search"]
    hits_before = await search.search(OURS, Query(WORD), NOW)
    for _ in range(30):
        await fill_theirs(filled)
    after = await read(filled, lambda tx: collection(OURS, tx), OURS)
    counted = ("documents", "title_tokens", "body_tokens")
    assert [getattr(after, it) for it in counted] == [getattr(before, it) for it in counted]
    hits_after = await search.search(OURS, Query(WORD), NOW)
    assert hits_after.total == hits_before.total
    assert [(hit.ref, hit.relevance) for hit in hits_after.hits] == [
        (hit.ref, hit.relevance) for hit in hits_before.hits
    ]
    theirs = await search.search(THEIRS, Query(WORD, limit=100))
    assert theirs.total == 30
    assert {hit.row["content"] for hit in theirs.hits} == {f"Their own {WORD}"}


async def test_one_cannot_erase_or_unindex_the_others(filled: Api) -> None:
    from claude_mem.domains.retrieval import repository as documents

    known = await read(filled, all_of_ours)
    (refs,), (numbers,) = known.values["refs"], known.values["numbers"]
    erasable = [ref for ref in refs if ref.kind != "session"]
    before = await state(filled)
    indexing = filled.system.parts.state["indexing"]
    await write(filled, lambda tx: memory.erase(THEIRS, tx, erasable))
    [ours, _] = known.values["session_id"]
    await write(filled, lambda tx: memory.withdraw(THEIRS, tx, ours))
    await write(filled, lambda tx: memory.replace_learnings(THEIRS, tx, ours, []))
    await write(filled, lambda tx: memory.empty_session(THEIRS, tx, ours))
    await write(filled, lambda tx: indexing.remove(THEIRS, tx, refs))
    await write(filled, lambda tx: documents.remove(THEIRS, tx, numbers))
    await write(filled, lambda tx: indexing.rebuild(THEIRS, tx, []))
    await write(filled, lambda tx: indexing.start_renewal(THEIRS, tx))
    assert await write(filled, lambda tx: indexing.finish_renewal(THEIRS, tx))
    assert await state(filled) == before
    search = filled.system.parts.state["search"]
    assert (await search.search(OURS, Query(WORD), NOW)).total > 0


async def state(api: Api) -> dict[str, Any]:
    names = [
        *TABLES,
        "learning_sources",
        "entity_use",
        "natural_keys",
        "change_journal",
        "search_documents",
        "projects",
    ]
    return {
        name: await read(
            api,
            lambda tx, name=name: [
                tuple(row)
                for row in tx.exec_driver_sql(
                    f"SELECT * FROM {name} WHERE enterprise_id = ? ORDER BY 1, 2, 3",
                    (OURS.enterprise_id,),
                )
            ],
        )
        for name in names
    }


async def test_positions_of_transcripts_are_an_enterprises_own(filled: Api) -> None:
    from claude_mem.domains.capture import repository

    await write(filled, lambda tx: repository.keep_position(OURS, tx, "/t", {"at": 1}, 1))
    assert await read(filled, lambda tx: repository.position(THEIRS, tx, "/t")) is None
    await write(filled, lambda tx: repository.keep_position(THEIRS, tx, "/t", {"at": 2}, 2))
    assert await read(filled, lambda tx: repository.position(OURS, tx, "/t")) == {"at": 1}


async def test_a_project_of_the_same_name_is_another(filled: Api) -> None:
    await fill_theirs(filled)
    sql = "SELECT count(DISTINCT id) FROM projects WHERE key = 'ledger'"
    assert await read(filled, lambda tx: column(tx, sql)) == [2]


async def test_dead_letters_and_jobs_are_an_enterprises_own(filled: Api) -> None:
    capture = filled.system.parts.state["capture"]
    inbox, queue = capture._inbox, capture._queue
    from claude_mem.ports.inbox import Entry
    from claude_mem.ports.queue import NewJob

    await inbox.append(OURS, [Entry("01890000-0000-7000-8000-000000000001", b"no JSON")])
    await filled.settle()
    assert len((await inbox.dead_letters(OURS, 10)).letters) == 1
    assert (await inbox.dead_letters(THEIRS, 10)).letters == []
    later = NewJob("transcript.catch_up", "x", {"path": "/x"}, run_at=now_ms() + 10_000_000)
    await write(filled, lambda tx: queue.enqueue(OURS, tx, [later]), OURS)
    assert await read(filled, lambda tx: queue.counts(THEIRS, tx)) == {}
