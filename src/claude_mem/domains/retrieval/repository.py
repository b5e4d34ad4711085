"""All SQL of the retrieval domain: documents as they are scored, and the statistics of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.analysis import ANALYSIS_VERSION
from claude_mem.domains.retrieval.model import Collection, IndexEntry, StoredDocument
from claude_mem.domains.retrieval.tables import search_documents, search_statistics
from claude_mem.domains.sql import hold, insert_many, upsert
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
    search_documents.c.terms_title,
    search_documents.c.length_title,
    search_documents.c.terms_body,
    search_documents.c.length_body,
).where(search_documents.c.id.in_(sa.bindparam("numbers", expanding=True)))


_LAST_NUMBER = sa.select(sa.func.max(search_documents.c.id))
_NUMBERS_TAKEN = sa.select(
    _LAST_NUMBER.scalar_subquery(),
    sa.select(search_statistics.c.stale_through)
    .where(search_statistics.c.enterprise_id == sa.bindparam("enterprise"))
    .scalar_subquery(),
)
_NUMBERS_OF = sa.select(search_documents.c.entity_id, search_documents.c.id).where(
    search_documents.c.enterprise_id == sa.bindparam("enterprise"),
    search_documents.c.kind == sa.bindparam("of_kind"),
    search_documents.c.entity_id.in_(sa.bindparam("ids", expanding=True)),
)
_COUNT = (
    sa.update(search_statistics)
    .where(search_statistics.c.enterprise_id == sa.bindparam("enterprise"))
    .values(
        documents=search_statistics.c.documents + sa.bindparam("more"),
        title_tokens=search_statistics.c.title_tokens + sa.bindparam("more_title"),
        body_tokens=search_statistics.c.body_tokens + sa.bindparam("more_body"),
    )
)


def collection(scope: Scope, tx: Tx) -> Collection:
    """What the index holds for the scope's enterprise."""
    row = tx.execute(_COLLECTION, {"enterprise": scope.enterprise_id}).first()
    if row is None:
        return _EMPTY
    return Collection(row[0], row[1], row[2], row[3] or 0, row[4] or 0, bool(row[5]), row[6])


def next_number(scope: Scope, tx: Tx) -> int:
    """The number of the next document: above all in use, and above all that a renewal takes for old.

    What a renewal makes anew leaves its old number first: were that the greatest, a number given out after it would
    lie among the old ones, and the document go with them. Nobody else is given a number until the transaction ends.
    """
    _hold_numbers(scope, tx)
    last, stale = tx.execute(_NUMBERS_TAKEN, {"enterprise": scope.enterprise_id}).one()
    return max(last or 0, stale or 0) + 1


def numbers_of(scope: Scope, tx: Tx, refs: Iterable[EntityRef]) -> dict[EntityRef, int]:
    """The document numbers of those entities that are in the index, for what is to be changed there.

    Whoever asks has the enterprise's numbers to itself until its transaction ends.
    """
    _hold_numbers(scope, tx)
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    found: dict[EntityRef, int] = {}
    for kind, ids in by_kind.items():
        for chunk in _chunks(ids):
            wanted = {"enterprise": scope.enterprise_id, "of_kind": kind, "ids": chunk}
            found.update(
                {EntityRef(kind, row[0]): row[1] for row in tx.execute(_NUMBERS_OF, wanted)}
            )
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
    more = {"more": documents, "more_title": title_tokens, "more_body": body_tokens}
    changed = tx.execute(_COUNT, {"enterprise": scope.enterprise_id, **more})
    if changed.rowcount == 0:
        row = {
            "enterprise_id": scope.enterprise_id,
            "documents": documents,
            "title_tokens": title_tokens,
            "body_tokens": body_tokens,
            "analysis_version": ANALYSIS_VERSION,
        }
        upsert(tx, search_statistics, [row], _summed)


def _summed(new: Any) -> dict[str, Any]:
    names = ("documents", "title_tokens", "body_tokens")
    return {name: search_statistics.c[name] + new[name] for name in names}


def mark_current(scope: Scope, tx: Tx) -> None:
    """Note that every document of the enterprise was analysed by this program's analysis."""
    _mark(scope, tx, ANALYSIS_VERSION, None)


def mark_stale(scope: Scope, tx: Tx) -> None:
    """Note that the documents of now are to be made anew; a renewal that was begun goes on.

    Meanwhile the version is the one that is renewed to, negative: another program begins afresh.
    """
    _hold_numbers(scope, tx)
    version, _ = _renewal(scope, tx)
    if version != -ANALYSIS_VERSION:
        _mark(scope, tx, -ANALYSIS_VERSION, _last_number(tx))


def stale_through(scope: Scope, tx: Tx) -> int:
    """The last document number that is to be made anew; 0 when none is."""
    return _renewal(scope, tx)[1]


def _hold_numbers(scope: Scope, tx: Tx) -> None:
    hold(tx, [f"search numbers of {scope.enterprise_id}"])


def _last_number(tx: Tx) -> int:
    """The greatest document number in use, 0 for none; where rows are not kept apart, of all enterprises."""
    return int(tx.execute(_LAST_NUMBER).scalar() or 0)


def _renewal(scope: Scope, tx: Tx) -> tuple[int, int]:
    s = search_statistics
    query = sa.select(s.c.analysis_version, s.c.stale_through)
    row = tx.execute(query.where(s.c.enterprise_id == scope.enterprise_id)).first()
    return (0, 0) if row is None else (row[0], row[1] or 0)


def _mark(scope: Scope, tx: Tx, version: int, through: int | None) -> None:
    s = search_statistics
    tx.execute(
        sa.update(s)
        .where(s.c.enterprise_id == scope.enterprise_id)
        .values(analysis_version=version, stale_through=through)
    )


def load(scope: Scope, tx: Tx, numbers: Sequence[int]) -> list[StoredDocument]:
    """Documents by number, those of other enterprises left out; in no order."""
    found: list[StoredDocument] = []
    for chunk in _chunks(numbers):
        # The enterprise is compared here: in the statement it makes SQLite walk all of its documents.
        found += [
            StoredDocument(*row[1:])
            for row in tx.execute(_LOAD, {"numbers": chunk}).all()
            if row[0] == scope.enterprise_id
        ]
    return found
