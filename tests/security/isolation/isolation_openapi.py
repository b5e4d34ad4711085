"""Requests made of the OpenAPI document: each operation, each parameter, each field of a body, however deep.

An operation that is added later is attacked from then on. Values come from a tenant's real ids, names and cursors,
chosen by what a parameter is called where that says something, and from everything otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from isolation_spy import mark
from isolation_world import SHARED_FILE, SHARED_PROJECT, SHARED_SESSION, WORD, Tenant

from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id

Schema = dict[str, Any]
_DEEPEST = 6


@dataclass(frozen=True)
class Operation:
    """One operation of the document; `fields` are its parameters by (place, name)."""

    method: str
    path: str
    fields: dict[tuple[str, str], Schema]
    required: frozenset[tuple[str, str]]
    body: Schema | None

    @property
    def name(self) -> str:
        """As in the document."""
        return f"{self.method} {self.path}"


@dataclass
class Call:
    """A request before it is sent: values by (place, name), a body, further headers."""

    operation: Operation
    values: dict[tuple[str, str], Any] = field(default_factory=dict)
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Call:
        """To be changed."""
        return Call(self.operation, dict(self.values), self.body, dict(self.headers))

    @property
    def target(self) -> str:
        """Path and query, percent-encoded."""
        path = self.operation.path
        query = []
        for (place, name), value in self.values.items():
            text = quote(_text(value), safe="")
            if place == "path":
                path = path.replace("{" + name + "}", text)
            elif place == "query":
                query.append(f"{name}={text}")
        return path + ("?" + "&".join(query) if query else "")

    @property
    def sent_headers(self) -> dict[str, str]:
        """Declared ones and further ones."""
        declared = {
            name: _text(value) for (place, name), value in self.values.items() if place == "header"
        }
        return declared | self.headers


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every operation of the document."""
    found = []
    for path, item in document["paths"].items():
        shared = item.get("parameters", [])
        for method, said in item.items():
            if method == "parameters":
                continue
            given = [*shared, *said.get("parameters", [])]
            names = {(it["in"], it["name"]): it.get("schema", {}) for it in given}
            needed = frozenset((it["in"], it["name"]) for it in given if it.get("required"))
            content = said.get("requestBody", {}).get("content", {})
            body = next(iter(content.values()))["schema"] if content else None
            found.append(Operation(method.upper(), path, names, needed, body))
    return found


class Maker:
    """Makes values of one tenant for the document's schemas."""

    def __init__(self, document: dict[str, Any], chance: random.Random) -> None:
        self._schemas = dict(_definitions(document))
        self._chance = chance

    def call(self, operation: Operation, tenant: Tenant, *, share: float = 0.4) -> Call:
        """A sound call of the tenant's; of what may be left out a `share` is given."""
        made = Call(operation)
        for place, schema in operation.fields.items():
            if place in operation.required or self._chance.random() < share:
                made.values[place] = self.value(place[1], schema, tenant, operation.path)
        if operation.body is not None:
            made.body = self.value("", operation.body, tenant, operation.path, share=share)
        elif operation.method in {"POST", "PUT", "PATCH"} and "/hooks/" in operation.path:
            made.body = self.hook(tenant)
        return made

    def hook(self, tenant: Tenant) -> dict[str, Any]:
        """A payload as the agent's hooks write them: the document declares none."""
        chance = self._chance
        project = chance.choice([SHARED_PROJECT, *tenant.names.get("key", [])])
        kind = chance.choice(["SessionStart", "UserPromptSubmit", "PostToolUse", "Stop"])
        more: dict[str, Any] = {
            "SessionStart": {"source": chance.choice(["startup", "resume", "compact", "clear"])},
            "UserPromptSubmit": {"prompt": self._query(tenant)},
            "PostToolUse": {
                "tool_name": "Read",
                "tool_input": {"file_path": f"{project}/x.py"},
                "tool_response": {},
            },
            "Stop": {},
        }[kind]
        session = chance.choice([SHARED_SESSION, *tenant.names.get("agent_session", [])])
        return {"hook_event_name": kind, "session_id": session, "cwd": project, **more}

    def value(
        self,
        name: str,
        schema: Schema,
        tenant: Tenant,
        path: str,
        depth: int = 0,
        share: float = 0.4,
    ) -> Any:
        """A value for a schema; what it is called decides what of the tenant's it is."""
        chance = self._chance
        schema = self._resolved(schema)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                ways = [it for it in schema[choice] if it.get("type") != "null"]
                return self.value(name, chance.choice(ways), tenant, path, depth, share)
        if "allOf" in schema:
            return self.value(name, schema["allOf"][0], tenant, path, depth, share)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return chance.choice(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if kind == "object":
            return self._object(schema, tenant, path, depth, share)
        if kind == "array":
            fewest = max(1, schema.get("minItems", 0))
            return [
                self.value(name, schema.get("items", {}), tenant, path, depth + 1, share)
                for _ in range(chance.randint(fewest, fewest + 1))
            ]
        return self._plain(kind, name, schema, tenant, path)

    def _plain(self, kind: str, name: str, schema: Schema, tenant: Tenant, path: str) -> Any:
        chance = self._chance
        if kind == "boolean":
            return chance.random() < 0.5
        if kind in {"integer", "number"}:
            return self._number(kind, name, schema)
        return self.text(name, schema, tenant, path)

    def _number(self, kind: str, name: str, schema: Schema) -> float:
        if "time" in name:
            return now_ms()
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100))
        if kind == "number":
            return float(self._chance.uniform(low, high))
        return int(
            self._chance.choice([low, min(high, low + 20), high, schema.get("default", low)])
        )

    def _object(
        self, schema: Schema, tenant: Tenant, path: str, depth: int, share: float
    ) -> dict[str, Any]:
        needed = set(schema.get("required", []))
        made = {}
        for name, inner in schema.get("properties", {}).items():
            wanted = name in needed or self._chance.random() < share
            if wanted and (depth < _DEEPEST or name in needed):
                made[name] = self.value(name, inner, tenant, path, depth + 1, share)
        if not schema.get("properties"):
            made["content"] = self._query(tenant)
        if "id" in schema.get("properties", {}) and (kind := made.get("what", made.get("kind"))):
            # An id beside a kind is of that kind.
            table = {"summary": "summaries"}.get(str(kind), f"{kind}s")
            made |= {"id": self._chance.choice(tenant.ids[table])} if tenant.ids.get(table) else {}
        return made

    def text(self, name: str, schema: Schema, tenant: Tenant, path: str) -> str:
        """A string that a parameter of this name would hold."""
        chance = self._chance
        pattern, longest = schema.get("pattern", ""), schema.get("maxLength", 400)
        if "0-9a-f" in pattern and "7[" in pattern:
            fresh = chance.random() < 0.6
            return new_id() if fresh else chance.choice(tenant.ids.get("events") or [new_id()])
        if "[0-9]{4}-" in pattern or name in {"since", "until", "occurred_at", "as_of"}:
            return to_iso(now_ms() - chance.randrange(10 * 86_400_000))
        if pattern.startswith("^(") and pattern.endswith(")$"):
            return chance.choice(pattern[2:-2].split("|"))
        return chance.choice(self.candidates(name, tenant, path))[:longest]

    def candidates(self, name: str, tenant: Tenant, path: str) -> list[str]:  # noqa: C901 - a table
        """Everything of the tenant's that a parameter of this name could mean."""
        chance = self._chance
        stem = name.removesuffix("_id").removeprefix("x_").removeprefix("x-")
        plural = f"{stem[:-1]}ies" if stem.endswith("y") else f"{stem}s"
        own = [*tenant.ids.get(plural, []), *tenant.names.get(name, [])]
        own += tenant.names.get(stem, []) if stem != name else []
        if f"{{{name}}}" in path:
            own += self._ids_of_path(tenant, path)
        if stem in {"session", "running"}:
            own += [SHARED_SESSION, *tenant.names.get("agent_session", [])]
        elif stem == "project":
            own += [SHARED_PROJECT, *tenant.names.get("key", [])]
        elif stem in {"entity", "id", "ids", "around"}:
            own += self._ids_of_path(tenant, path) or tenant.every_id
        elif stem == "cursor":
            own += tenant.cursors
        elif stem in {"file", "files", "path", "cwd", "place"}:
            own += [SHARED_FILE, *tenant.names.get("file_path", [])]
        elif stem in {"q", "query", "content", "text", "prompt", "title", "summary"}:
            own.append(self._query(tenant))
        elif stem in {"username", "name", "email"}:  # what is new has a name that nothing has yet
            fresh = mark("k", tenant.letter, chance)
            own += [f"{fresh}@x.test" if stem == "email" else fresh] * (1 + len(own))
        elif stem == "agent":
            own = ["claude-code"]
        elif stem == "part":
            own = ["prompts", "observations", "changes", "summaries"]
        elif stem in {"tool", "tag", "tags", "role", "source_tool"}:
            own += [tenant.known]
        elif stem == "event-id":
            own = [new_id()]
        return own or [tenant.known, chance.choice(tenant.every_id)]

    @staticmethod
    def _ids_of_path(tenant: Tenant, path: str) -> list[str]:
        """`/prompts/{entity_id}` wants a prompt's."""
        for part in reversed(path.split("/")):
            for table, ids in tenant.ids.items():
                if ids and part and (table == part or table.endswith(f"_{part}")):
                    return ids
        return []

    def _query(self, tenant: Tenant) -> str:
        chance, known = self._chance, tenant.known
        return chance.choice(
            [
                WORD,
                known,
                f"{WORD} {known}",
                f'"{WORD} {known}"',
                f"{known[:6]}*",
                f"{WORD} -{known}",
                f"+{known} decimals",
                f"{known} floats cents",
                f"what about {known}?",
                chance.choice(tenant.every_id),
            ]
        )

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            schema = self._schemas[name]
        return schema


def _definitions(document: Any) -> Iterator[tuple[str, Schema]]:
    """Named schemas, wherever the document has them."""
    if isinstance(document, dict):
        for name, inner in document.items():
            if name in {"schemas", "$defs"} and isinstance(inner, dict):
                yield from inner.items()
            yield from _definitions(inner)


def places(thing: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a body strings stand."""
    if isinstance(thing, dict):
        for name, inner in thing.items():
            yield from places(inner, (*at, name))
    elif isinstance(thing, list):
        for index, inner in enumerate(thing):
            yield from places(inner, (*at, index))
    elif isinstance(thing, str):
        yield at


def replaced(thing: Any, at: tuple[Any, ...], value: Any) -> Any:
    """A body with another value at one place."""
    if not at:
        return value
    copy = thing.copy()
    copy[at[0]] = replaced(copy[at[0]], at[1:], value)
    return copy
