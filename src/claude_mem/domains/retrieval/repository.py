"""All SQL of the retrieval domain: documents as they are scored, and the statistics of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.analysis import ANALYSIS_VERSION
from claude_mem.domains.retrieval.model import Collection, IndexEntry, StoredDocument
from claude_mem.domains.retrieval.tables import search_documents, search_statistics
from claude_mem.domains.sql import insert_many
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

_CHUNK = 500  # parameters a statement: well under every engine's limit
_EMPTY = Collection(0, 0, 0, 0, 0, shared=False, analysis_version=ANALYSIS_VERSION)


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _collection_query() -> Any:
    s, d = search_statistics, search_documents
    others = sa.exists().where(s.c.enterprise_id != sa.bindparam("enterprise"), s.c.documents > 0)
    return sa.select(
        s.c.documents,
        s.c.title_tokens,
        s.c.body_tokens,
        sa.select(sa.func.min(d.c.id)).scalar_subquery(),
        sa.select(sa.func.max(d.c.id)).scalar_subquery(),
        others,
        s.c.analysis_version,
    ).where(s.c.enterprise_id == sa.bindparam("enterprise"))


# Made once: putting a statement together costs more than running it.
_COLLECTION = _collection_query()
_LOAD = sa.select(
    search_documents.c.enterprise_id,
    search_documents.c.id,
    search_documents.c.kind,
    search_documents.c.entity_id,
    search_documents.c.occurred_at,
    search_documents.c.tokens_title,
    search_documents.c.length_title,
    search_documents.c.tokens_body,
    search_documents.c.length_body,
).where(search_documents.c.id.in_(sa.bindparam("numbers", expanding=True)))


def collection(scope: Scope, tx: Tx) -> Collection:
    """What the index holds for the scope's enterprise."""
    row = tx.execute(_COLLECTION, {"enterprise": scope.enterprise_id}).first()
    if row is None:
        return _EMPTY
    return Collection(row[0], row[1], row[2], row[3] or 0, row[4] or 0, bool(row[5]), row[6])


def last_number(scope: Scope, tx: Tx) -> int:
    """The greatest document number in use, 0 for none; numbers are shared by all enterprises."""
    del scope
    return int(tx.execute(sa.select(sa.func.max(search_documents.c.id))).scalar() or 0)


def numbers_of(scope: Scope, tx: Tx, refs: Iterable[EntityRef]) -> dict[EntityRef, int]:
    """The document numbers of those entities that are in the index."""
    d = search_documents
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    found: dict[EntityRef, int] = {}
    for kind, ids in by_kind.items():
        for chunk in _chunks(ids):
            query = sa.select(d.c.entity_id, d.c.id).where(
                d.c.enterprise_id == scope.enterprise_id,
                d.c.kind == kind,
                d.c.entity_id.in_(chunk),
            )
            found.update({EntityRef(kind, row[0]): row[1] for row in tx.execute(query)})
    return found


def numbers_page(scope: Scope, tx: Tx, after: int, limit: int) -> list[int]:
    """The next document numbers of the enterprise in ascending order."""
    d = search_documents
    query = (
        sa.select(d.c.id)
        .where(d.c.enterprise_id == scope.enterprise_id, d.c.id > after)
        .order_by(d.c.id)
        .limit(limit)
    )
    return list(tx.execute(query).scalars())


def add(scope: Scope, tx: Tx, documents: Sequence[tuple[StoredDocument, IndexEntry]]) -> None:
    """Insert documents under their numbers."""
    insert_many(
        tx,
        search_documents,
        [
            (
                document.number,
                scope.enterprise_id,
                entry.kind,
                entry.entity_id,
                entry.project_id,
                entry.session_id,
                entry.role,
                entry.type,
                entry.tool,
                entry.occurred_at,
                document.title_length,
                document.body_length,
                document.title,
                document.body,
            )
            for document, entry in documents
        ],
    )
    _count(
        scope,
        tx,
        len(documents),
        sum(document.title_length for document, _ in documents),
        sum(document.body_length for document, _ in documents),
    )


def remove(scope: Scope, tx: Tx, numbers: Sequence[int]) -> None:
    """Delete documents."""
    d = search_documents
    for chunk in _chunks(numbers):
        ours = sa.and_(d.c.enterprise_id == scope.enterprise_id, d.c.id.in_(chunk))
        totals = tx.execute(
            sa.select(
                sa.func.count(), sa.func.sum(d.c.length_title), sa.func.sum(d.c.length_body)
            ).where(ours)
        ).one()
        tx.execute(sa.delete(d).where(ours))
        _count(scope, tx, -totals[0], -(totals[1] or 0), -(totals[2] or 0))


def _count(scope: Scope, tx: Tx, documents: int, title_tokens: int, body_tokens: int) -> None:
    s = search_statistics
    changed = tx.execute(
        sa.update(s)
        .where(s.c.enterprise_id == scope.enterprise_id)
        .values(
            documents=s.c.documents + documents,
            title_tokens=s.c.title_tokens + title_tokens,
            body_tokens=s.c.body_tokens + body_tokens,
        )
    )
    if changed.rowcount == 0:
        tx.execute(
            sa.insert(s).values(
                enterprise_id=scope.enterprise_id,
                documents=documents,
                title_tokens=title_tokens,
                body_tokens=body_tokens,
                analysis_version=ANALYSIS_VERSION,
            )
        )


def mark_current(scope: Scope, tx: Tx) -> None:
    """Note that every document of the enterprise was analysed by this program's analysis."""
    s = search_statistics
    tx.execute(
        sa.update(s)
        .where(s.c.enterprise_id == scope.enterprise_id)
        .values(analysis_version=ANALYSIS_VERSION)
    )


def load(scope: Scope, tx: Tx, numbers: Sequence[int]) -> list[StoredDocument]:
    """Documents by number, those of other enterprises left out; in no order."""
    found: list[StoredDocument] = []
    for chunk in _chunks(numbers):
        # The enterprise is compared here: in the statement it makes SQLite walk all of its documents.
        found += [
            StoredDocument(row[1], EntityRef(row[2], row[3]), *row[4:])
            for row in tx.execute(_LOAD, {"numbers": chunk}).all()
            if row[0] == scope.enterprise_id
        ]
    return found
