"""Which tables of a store come along, in which order, and what their columns are; and why the others stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from claude_mem.domains.sql import metadata

# Parents first: what a row refers to is there before it. The journal is last, for what it says is gone is gone by then.
MOVED: Final = (
    "sessions",
    "prompts",
    "observations",
    "code_changes",
    "summaries",
    "learnings",
    "learning_sources",
    "entity_use",
    "natural_keys",
    "forgotten",
    "ingested_events",
    "change_journal",
)
LEFT: Final = {
    "enterprises": "the target's own: ids of the local one become its",
    "solutions": "the target's own: projects come under its first",
    "users": "the target's own: what the local person did becomes the named user's",
    "projects": "meet the target's by their keys; what is missing there is made",
    "roles": "the organisation is the target's own",
    "members": "the organisation is the target's own",
    "api_keys": "a key opens one installation",
    "audit_logs": "tell of one installation",
    "transcript_positions": "files of the developer's machine",
    "injections": "what running conversations were given: a new one begins afresh",
    "task_queue": "jobs of the developer's worker; sessions not summed up yet are queued on the target",
    "configurations": "settings of one installation",
    "stats_snapshots": "figures of one installation",
    "vector_embeddings": "made anew on the target",
    "vector_models": "made anew on the target",
    "vector_rows": "made anew on the target",
    "vector_spaces": "made anew on the target",
    "search_documents": "made anew on the target",
    "search_statistics": "made anew on the target",
    "search_fts": "made anew on the target",
    "schema_info": "the schema's own",
    "alembic_version": "the schema's own",
}
# Numbers that the target counts for itself.
OWN: Final = {"sessions": "changes"}
# The table of every kind of entity that the journal tells of.
ENTITIES: Final = {
    "session": "sessions",
    "prompt": "prompts",
    "observation": "observations",
    "code_change": "code_changes",
    "summary": "summaries",
    "learning": "learnings",
}
# What the journal says last of an entity that is gone: forgotten by a person, or withdrawn with what it rested on.
TOMBSTONES: Final = frozenset({'{"forgotten":true}', '{"withdrawn":true}'})
INDEXED: Final = ("prompt", "observation", "summary", "learning")
_KINDS = {
    "UUID": "id",
    "TEXT": "text",
    "JSONB": "json",
    "TIMESTAMP WITH TIME ZONE": "moment",
    "INTEGER": "integer",
    "BIGINT": "wide",
    "FLOAT": "float",
    "BOOLEAN": "boolean",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `kind` is one of id, text, json, moment, integer, wide, float, boolean."""

    name: str
    kind: str
    nullable: bool


@dataclass(frozen=True)
class Relation:
    """A table as it is moved. The enterprise's column is left out: it is the same for all rows."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]  # of the primary key, without the enterprise

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each column is."""
        return {column.name: at for at, column in enumerate(self.columns)}

    @cached_property
    def key_places(self) -> tuple[int, ...]:
        """Where the key's columns are."""
        return tuple(self.places[name] for name in self.key)

    @property
    def version(self) -> str | None:
        """The column that only grows, by which a row of the target is told to be the newer one."""
        if self.name == "entity_use":
            return "used"
        return "version" if "version" in self.places and self.name != "change_journal" else None

    @property
    def is_of_sessions(self) -> bool:
        """Whether a session is shown with these rows: what is kept of it is out of date when they change."""
        return self.entity is not None and "session_id" in self.places and self.name != "learnings"

    @property
    def entity(self) -> str | None:
        """The kind of entity a row is."""
        return next((kind for kind, table in ENTITIES.items() if table == self.name), None)


@lru_cache(maxsize=1)
def relations() -> dict[str, Relation]:
    """Every table that is moved, in order."""
    return {name: _relation(metadata.tables[name]) for name in MOVED}


def _relation(table: sa.Table) -> Relation:
    key = tuple(it.name for it in table.primary_key if it.name != "enterprise_id")
    return Relation(table.name, tuple(_columns(table)), key)


def _columns(table: sa.Table) -> Iterator[Column]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for column in table.columns:
        if column.name not in ("enterprise_id", OWN.get(table.name)):
            kind = _KINDS[column.type.compile(dialect=dialect)]
            yield Column(column.name, kind, bool(column.nullable))
