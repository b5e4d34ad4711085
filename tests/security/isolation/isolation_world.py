"""Three tenants in one store, each with rich content: sessions, memories, keys, jobs, and a row in every table.

They share names (a session, a project's folder, files, prompts' ids, a common word), as strangers' do, and each has its
own. What is its own bears its marks. Everything comes in by the API as a client's does; what no client can make yet is
planted in its table, so that a table which is added later is attacked from its first day.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from isolation_admin import Admin, PostgresAdmin, SqliteAdmin, Tables, ids_of, key_of
from isolation_client import Client
from isolation_spy import KNOWN, LETTERS, UUID, Spy, mark
from isolation_system import Assembled, Servers, assembled

from claude_mem.domains.access import founding, keys, users
from claude_mem.domains.access.model import NewKey, NewUser, Origin
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef, NewLearning
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import deterministic_id, new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.inbox import Entry

T = TypeVar("T")
API = "/api/v1"
WORD = "zanzibar"  # in everything of everybody
SHARED_SESSION, SHARED_PROJECT, SHARED_FILE = "shared-session", "/srv/shared", "/srv/shared/bill.py"
DAY = 86_400_000
_SPARE = 8
_LETTERS = 30  # enough for those attacks that take one out


@dataclass
class Tenant:
    """One of the three, with keys of its administrator: one for everything, one for nothing.

    `names` are its short texts by column, `ids` its ids by table.
    """

    letter: str
    known: str
    scope: Scope
    token: str
    bare: str
    ids: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    cursors: list[str] = field(default_factory=list)
    guarded: list[str] = field(default_factory=list)  # ids it cannot do without: its keys, its user
    letters: list[str] = field(default_factory=list)  # ids of events that could not become rows

    @property
    def secret(self) -> str:
        """The last part of its key."""
        return self.token.rpartition("_")[2]

    @property
    def every_id(self) -> list[str]:
        """All of them, the same ones each time."""
        found = {one for ids in self.ids.values() for one in ids}
        return sorted(one for one in found if UUID.fullmatch(one))


@dataclass
class World:
    """The store, the program over it, and everything that is in it."""

    tenants: dict[str, Tenant]
    system: Assembled
    admin: Admin
    spy: Spy
    client: Client
    chance: random.Random

    def others(self, letter: str) -> list[Tenant]:
        """Whom a tenant may learn nothing of."""
        return [one for one in self.tenants.values() if one.letter != letter]

    async def read(self, tenant: Tenant, work: Callable[[Tx], T]) -> T:
        """A read of the tenant's."""
        return await self.system.database.read(tenant.scope, work)

    async def write(self, tenant: Tenant, work: Callable[[Tx], T]) -> T:
        """A write of the tenant's."""
        return await self.system.database.write(tenant.scope, work)

    def look_around(self) -> None:
        """Take up everything that each tenant has now."""
        tables = self.admin.tables()
        for tenant in self.tenants.values():
            tenant.ids, tenant.names = _inventory(self.admin, tables, tenant)
            tenant.ids["dead-letters"] = tenant.letters
            self.spy.ids[tenant.letter] = ids_of(self.admin, tenant.scope.enterprise_id) | set(
                tenant.letters
            )


@asynccontextmanager
async def postgres_world(servers: Servers, home: Path, seed: int) -> AsyncIterator[World]:
    """The server profile; on PostgreSQL as the runtime role."""
    async with _world(PostgresAdmin(servers.urls), servers, home, seed) as world:
        yield world


@asynccontextmanager
async def sqlite_world(home: Path, seed: int) -> AsyncIterator[World]:
    """On SQLite, where nothing but a statement's own condition keeps tenants apart."""
    async with _world(None, None, home, seed) as world:
        yield world


@asynccontextmanager
async def _world(
    admin: Admin | None, servers: Servers | None, home: Path, seed: int
) -> AsyncIterator[World]:
    chance = random.Random(seed)
    async with assembled(home, servers) as system:
        seen = admin or SqliteAdmin(home / "claude-mem.db")
        try:
            client = Client(system.app, system.statements)
            tenants = {letter: await _found(system, letter, chance) for letter in LETTERS}
            world = World(tenants, system, seen, Spy({}), client, chance)
            for tenant in tenants.values():
                await _make(world, tenant)
            await system.settle()
            for tenant in tenants.values():
                await _distil(world, tenant)
            world.look_around()
            for tenant in tenants.values():
                _plant(world, tenant)
            world.look_around()
            yield world
        finally:
            seen.close()


async def _found(system: Assembled, letter: str, chance: random.Random) -> Tenant:
    known = mark("k", letter, chance)
    origin = Origin(None, None, 0.0)
    made = await founding.found(system.database, origin, f"{known} Ltd", known, f"{known}@x.test")
    answer = system.tokens.authenticate(f"Bearer {made.key}")
    scope = answer if isinstance(answer, Scope) else await answer
    new = NewKey(scope.user_id, f"nothing of {known}", permissions=())

    def more(tx: Tx) -> tuple[str, list[str]]:
        """A key that opens nothing; and users and keys that attacks may use up."""
        row, bare = keys.make(scope, tx, origin, new)
        for turn in range(_SPARE):
            spare = NewUser(
                mark("k", letter, chance), "user", f"{mark('k', letter, chance)}@x.test"
            )
            user = users.make(scope, tx, origin, spare)
            keys.make(scope, tx, origin, NewKey(user["id"], f"spare {turn} of {known}"))
        return bare, [row["id"], scope.user_id, scope.key_id or ""]

    bare, guarded = await system.database.write(scope, more)
    return Tenant(letter, known, scope, made.key, bare, guarded=guarded)


async def _make(world: World, tenant: Tenant) -> None:
    own = f"/srv/{tenant.known}"
    for session, project in (
        (SHARED_SESSION, SHARED_PROJECT),
        (f"session-{tenant.known}", own),
        (f"second-{tenant.known}", own),
    ):
        events = _events(world, tenant, session, project)
        answer = await world.client.call(
            "POST", f"{API}/events", token=tenant.token, body={"events": events}
        )
        assert answer.status == 202, answer.text
    note = {
        "content": f"We decided to use {WORD} {_said(world, tenant)}, because it is simple.",
        "type": "decision",
        "tags": [tenant.known],
        "files": [f"{own}/note.py"],
        "project": own,
    }
    await world.system.settle()
    answer = await world.client.call("POST", f"{API}/memories", token=tenant.token, body=note)
    assert answer.status == 201, answer.text
    await _hooks(world, tenant, own)
    tenant.letters = [new_id() for _ in range(_LETTERS)]
    bodies = [f"no event: {_said(world, tenant)}".encode() for _ in tenant.letters]
    await world.system.inbox.append(tenant.scope, list(map(Entry, tenant.letters, bodies)))


def _said(world: World, tenant: Tenant) -> str:
    """Words of a tenant's: one that may be said by others, one that never is."""
    known = world.chance.choice([tenant.known, mark("k", tenant.letter, world.chance)])
    return f"{known} {mark('s', tenant.letter, world.chance)}"


def _events(world: World, tenant: Tenant, session: str, project: str) -> list[dict[str, Any]]:
    """One of every type, and some more turns."""
    say = lambda: f"{WORD} {_said(world, tenant)}"  # noqa: E731 - said a dozen times below
    file = SHARED_FILE if project == SHARED_PROJECT else f"{project}/{tenant.known}.py"
    write = {"file_path": file, "content": f"# {say()}\nrate = 1\n"}
    told: list[tuple[str, dict[str, Any]]] = [
        ("session.started", {"title": f"About {say()}", "transcript_path": f"{project}/t.jsonl"}),
        ("prompt.submitted", {"content": f"Mend the rounding of {say()}", "prompt_id": "p-1"}),
        ("assistant.replied", {"content": f"I will use {say()}", "message_id": "m-1"}),
        ("tool.used", {"tool": "Write", "tool_use_id": "t-1", "input": write, "response": {}}),
        (
            "tool.used",
            {
                "tool": "Bash",
                "tool_use_id": "t-2",
                "input": {"command": f"make {say()}"},
                "response": {"stdout": f"ok {say()}"},
            },
        ),
        (
            "tool.failed",
            {
                "tool": "Bash",
                "tool_use_id": "t-3",
                "input": {"command": "make test"},
                "error": f"AssertionError: {say()}",
            },
        ),
        (
            "prompt.submitted",
            {"content": f"Always use decimals for {say()}, never floats.", "prompt_id": "p-2"},
        ),
        (
            "assistant.replied",
            {
                "content": f"We decided to use decimals for {say()} because floats lose cents.",
                "message_id": "m-2",
                "final": True,
            },
        ),
        (
            "observation.added",
            {
                "observation_type": "info",
                "content": f"Worth knowing: {say()}",
                "title": f"Noted {say()}",
                "source_tool": tenant.known,
                "tags": [tenant.known, "shared-tag"],
                "files": [file],
            },
        ),
        ("message.sent", {"content": f"To all: {say()}", "to_role": tenant.known}),
        ("subagent.stopped", {"agent_id": "agent-1", "content": f"The subagent found {say()}"}),
        ("context.compacted", {"summary": f"So far: {say()}", "title": f"Compacted {say()}"}),
        ("session.ended", {"reason": "other"}),
    ]
    began = now_ms() - world.chance.randrange(DAY, 20 * DAY)
    return [
        {
            "id": deterministic_id(began + at, f"{tenant.letter} {session} {at}"),
            "type": kind,
            "occurred_at": to_iso(began + at * 1_000 + world.chance.randrange(900)),
            "agent": "claude-code",
            "session": session,
            "project": project,
            "role": tenant.known,
            "data": data,
        }
        for at, (kind, data) in enumerate(told)
    ]


async def _hooks(world: World, tenant: Tenant, project: str) -> None:
    """As the agent's hook tells: its answers note what was given."""
    for session, folder in ((SHARED_SESSION, SHARED_PROJECT), (f"live-{tenant.known}", project)):
        for kind, more in (
            ("SessionStart", {"source": "startup"}),
            ("UserPromptSubmit", {"prompt": f"{WORD} {tenant.known} rounding of invoices"}),
        ):
            await world.client.hook(
                tenant.token,
                {"hook_event_name": kind, "session_id": session, "cwd": folder, **more},
                folder,
            )


async def _distil(world: World, tenant: Tenant) -> None:
    """Summaries of every session by the endpoint, and one learning at least."""
    page = await world.client.call("GET", f"{API}/sessions?limit=100", token=tenant.token)
    for session in json.loads(page.text)["data"]:
        path = f"{API}/sessions/{session['id']}/summaries"
        await world.client.call("POST", path, token=tenant.token)
        learning = NewLearning(
            session_id=session["id"],
            project_id=session["project_id"],
            title=f"{WORD} {tenant.known}",
            description=f"Learned {_said(world, tenant)}",
            category="general",
            fingerprint=new_id(),
            context={"of": _said(world, tenant)},
            examples=(_said(world, tenant),),
            tags=(tenant.known,),
            refs=(EntityRef("session", session["id"]),),
            confidence=0.5,
            importance=0.5,
            occurred_at=now_ms(),
        )
        await world.write(
            tenant, lambda tx, it=learning: memory.save_learning(tenant.scope, tx, it)
        )


# Of rows that are numbered across tenants: no two the same, and none that an engine gives out, which counts upwards.
_NUMBERS = count(10**12, -1)


def _plant(world: World, tenant: Tenant) -> None:
    """Two rows in every table that has none of the tenant's yet."""
    for table, columns in world.admin.tables().items():
        if world.admin.rows(table, tenant.scope.enterprise_id):
            continue
        choices = world.admin.choices(table)
        for turn in range(1 if table == "search_statistics" else 2):
            row = {
                name: _value(world, tenant, table, name, kind, choices, turn)
                for name, kind in columns.items()
            }
            world.admin.insert(table, row)


def _value(
    world: World,
    tenant: Tenant,
    table: str,
    column: str,
    kind: str,
    choices: dict[str, list[str]],
    turn: int,
) -> Any:
    if column == key_of(table):
        return tenant.scope.enterprise_id
    if column in choices:
        return choices[column][0]
    parents = f"{column.removesuffix('_id')}s"
    if column.endswith("_id") and tenant.ids.get(parents):
        return tenant.ids[parents][turn % len(tenant.ids[parents])]
    if column == "number":
        return next(_NUMBERS)
    text = f"{column} {_said(world, tenant)}"
    if column == "id" or column.endswith("_id") or kind == "uuid":
        return new_id()
    return _filler(kind, column, text, turn)


def _filler(kind: str, column: str, text: str, turn: int) -> Any:
    fillers: dict[str, Callable[[], Any]] = {
        "text": lambda: json.dumps({"of": text}) if column.endswith("_json") else text,
        "json": lambda: json.dumps({"of": text}),
        "jsonb": lambda: json.dumps({"of": text}),
        "timestamp with time zone": lambda: to_iso(now_ms() - 3_600_000 + turn),
        "boolean": lambda: False,
        "bytea": lambda: text.encode(),
        "blob": lambda: text.encode(),
        "tsvector": lambda: "",
        "vector": lambda: "[1]",
        "halfvec": lambda: "[1]",
        "inet": lambda: "127.0.0.1",
        "date": lambda: "2026-11-01",
        "text[]": lambda: "{" + text.replace(" ", ",") + "}",
        "uuid[]": lambda: "{}",
    }
    found = fillers.get(kind)
    return found() if found else 1 if column == "dimension" else 1 + turn


def _inventory(
    admin: Admin, tables: Tables, tenant: Tenant
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(ids by table, short texts of its own by column)."""
    ids: dict[str, list[str]] = {}
    names: dict[str, set[str]] = {}
    for table, columns in tables.items():
        rows = admin.rows(table, tenant.scope.enterprise_id)
        if "id" in columns and "enterprise_id" in columns:
            ids[table] = sorted(str(row["id"]) for row in rows)
        for row in rows:
            for column, value in row.items():
                if isinstance(value, str) and len(value) <= 200 and _may_be_said(value):
                    names.setdefault(column, set()).add(value)
    ids["enterprises"] = [tenant.scope.enterprise_id]
    return ids, {column: sorted(found)[:60] for column, found in names.items()}


def _may_be_said(value: str) -> bool:
    return KNOWN.search(value) is not None and "ozs" not in value.lower()
