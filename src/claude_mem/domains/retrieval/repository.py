"""All SQL of the retrieval domain: documents as they are scored, and the statistics of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.analysis import ANALYSIS_VERSION
from claude_mem.domains.retrieval.model import (
    Collection,
    DescribedDocument,
    IndexEntry,
    StoredDocument,
)
from claude_mem.domains.retrieval.tables import (
    search_documents,
    search_statistics,
    vector_models,
)
from claude_mem.domains.sql import Lookup, among, hold, insert_many, upsert
from claude_mem.kernel import zones
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

_CHUNK = 500  # parameters a statement: well under every engine's limit
_EMPTY = Collection(0, 0, 0, 0, 0, shared=False, analysis_version=ANALYSIS_VERSION, generation=0)


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
        s.c.generation,
    ).where(s.c.enterprise_id == sa.bindparam("enterprise"))


# Made once: putting a statement together costs more than running it.
_COLLECTION = _collection_query()
_STORED = sa.select(
    search_documents.c.enterprise_id,
    search_documents.c.id,
    search_documents.c.kind,
    search_documents.c.entity_id,
    search_documents.c.project_id,
    search_documents.c.session_id,
    search_documents.c.role,
    search_documents.c.type,
    search_documents.c.tool,
    search_documents.c.speaker,
    search_documents.c.place,
    search_documents.c.traits,
    search_documents.c.importance,
    search_documents.c.occurred_at,
    search_documents.c.terms_title,
    search_documents.c.length_title,
    search_documents.c.terms_body,
    search_documents.c.length_body,
)
_DESCRIBE = Lookup(
    sa.select(
        search_documents.c.enterprise_id,
        search_documents.c.kind,
        search_documents.c.entity_id,
        search_documents.c.project_id,
        search_documents.c.role,
        search_documents.c.type,
        search_documents.c.tool,
        search_documents.c.occurred_at,
    ),
    search_documents.c.id,
)
_LOAD = Lookup(_STORED, search_documents.c.id)
_LOAD_OF_KIND = Lookup(
    _STORED.where(
        search_documents.c.enterprise_id == sa.bindparam("enterprise"),
        search_documents.c.kind == sa.bindparam("kind"),
    ),
    search_documents.c.entity_id,
)


_LAST_NUMBER = sa.select(sa.func.max(search_documents.c.id))
_NUMBERS_TAKEN = sa.select(
    _LAST_NUMBER.scalar_subquery(),
    sa.select(search_statistics.c.stale_through)
    .where(search_statistics.c.enterprise_id == sa.bindparam("enterprise"))
    .scalar_subquery(),
    sa.select(sa.func.max(vector_models.c.head))
    .where(vector_models.c.enterprise_id == sa.bindparam("enterprise"))
    .scalar_subquery(),
)


def _next_generation(moment: Any) -> Any:
    """At least the moment (Unix ms): after a restored backup none comes again that was given out since."""
    generation = search_statistics.c.generation
    return sa.case((generation >= moment, generation + 1), else_=moment)


_RAISE = (
    sa.update(search_statistics)
    .where(search_statistics.c.enterprise_id == sa.bindparam("enterprise"))
    .values(generation=_next_generation(sa.bindparam("moment", type_=sa.BigInteger)))
)
_COUNT = (
    sa.update(search_statistics)
    .where(search_statistics.c.enterprise_id == sa.bindparam("enterprise"))
    .values(
        documents=search_statistics.c.documents + sa.bindparam("more"),
        title_tokens=search_statistics.c.title_tokens + sa.bindparam("more_title"),
        body_tokens=search_statistics.c.body_tokens + sa.bindparam("more_body"),
        generation=_next_generation(sa.bindparam("moment", type_=sa.BigInteger)),
    )
)


def collection(scope: Scope, tx: Tx) -> Collection:
    """What the index holds for the scope's enterprise."""
    row = tx.execute(_COLLECTION, {"enterprise": scope.enterprise_id}).first()
    if row is None:
        return _EMPTY
    return Collection(
        row[0], row[1], row[2], row[3] or 0, row[4] or 0, bool(row[5]), row[6], row[7]
    )


def next_number(scope: Scope, tx: Tx) -> int:
    """The number of the next document: above all in use, and above all that a renewal or the vectors take for old.

    What a renewal makes anew leaves its old number first: were that the greatest, a number given out after it would
    lie among the old ones, and the document go with them. In the same way one would lie among those that have vectors.
    Nobody else is given a number until the transaction ends.
    """
    hold_numbers(scope, tx)
    taken = tx.execute(_NUMBERS_TAKEN, {"enterprise": scope.enterprise_id}).one()
    return max(number or 0 for number in taken) + 1


def numbers_of(scope: Scope, tx: Tx, refs: Iterable[EntityRef]) -> dict[EntityRef, int]:
    """The document numbers of those entities that are in the index, for what is to be changed there.

    Whoever asks has the enterprise's numbers to itself until its transaction ends.
    """
    hold_numbers(scope, tx)
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    found: dict[EntityRef, int] = {}
    for kind, ids in by_kind.items():
        for chunk in _chunks(ids):
            d = search_documents
            query = sa.select(d.c.entity_id, d.c.id).where(
                d.c.enterprise_id == scope.enterprise_id,
                d.c.kind == kind,
                among(tx, d.c.entity_id, chunk),
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


def refs_of(scope: Scope, tx: Tx, numbers: Sequence[int]) -> dict[int, EntityRef]:
    """The entities behind document numbers; those that are no document of the enterprise are left out."""
    d = search_documents
    found: dict[int, EntityRef] = {}
    for chunk in _chunks(numbers):
        query = sa.select(d.c.enterprise_id, d.c.id, d.c.kind, d.c.entity_id)
        # The enterprise is compared here, as in `load`.
        for row in tx.execute(query.where(among(tx, d.c.id, chunk))):
            if row[0] == scope.enterprise_id:
                found[row[1]] = EntityRef(row[2], row[3])
    return found


def add(
    scope: Scope, tx: Tx, documents: Sequence[tuple[StoredDocument, IndexEntry]], zone: str
) -> None:
    """Insert documents under their numbers; `zone` is the one their days are counted in."""
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
                document.speaker,
                document.place,
                document.traits,
                document.importance,
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
        zone,
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


def raise_generation(scope: Scope, tx: Tx) -> None:
    """Note that what a search finds has changed."""
    tx.execute(_RAISE, {"enterprise": scope.enterprise_id, "moment": now_ms()})


def _count(
    scope: Scope, tx: Tx, documents: int, title_tokens: int, body_tokens: int, zone: str = ""
) -> None:
    more = {"more": documents, "more_title": title_tokens, "more_body": body_tokens}
    moment = now_ms()
    changed = tx.execute(_COUNT, {"enterprise": scope.enterprise_id, "moment": moment, **more})
    if changed.rowcount == 0:
        row = {
            "enterprise_id": scope.enterprise_id,
            "documents": documents,
            "title_tokens": title_tokens,
            "body_tokens": body_tokens,
            "analysis_version": ANALYSIS_VERSION,
            "generation": moment,
            "timezone": zone if zone != zones.DEFAULT else None,
        }
        upsert(tx, search_statistics, [row], _summed)


def _summed(new: Any) -> dict[str, Any]:
    names = ("documents", "title_tokens", "body_tokens")
    sums = {name: search_statistics.c[name] + new[name] for name in names}
    return sums | {"generation": _next_generation(new["generation"])}


def mark_current(scope: Scope, tx: Tx) -> None:
    """Note that every document of the enterprise was analysed by this program's analysis."""
    _mark(scope, tx, ANALYSIS_VERSION, None)


def mark_stale(scope: Scope, tx: Tx, zone: str) -> None:
    """Note that the documents of now are to be made anew, in a time zone; a renewal to that that was begun goes on.

    Meanwhile the version is the one that is renewed to, negative: another program begins afresh.
    """
    hold_numbers(scope, tx)
    version, _ = _renewal(scope, tx)
    if version != -ANALYSIS_VERSION or timezone(scope, tx) != zone:
        _mark(scope, tx, -ANALYSIS_VERSION, _last_number(tx))
        mark_zone(scope, tx, zone)


def mark_zone(scope: Scope, tx: Tx, zone: str) -> None:
    """Note the time zone in which the documents' days are counted."""
    s = search_statistics
    values = {"timezone": None if zone == zones.DEFAULT else zone}
    tx.execute(sa.update(s).where(s.c.enterprise_id == scope.enterprise_id).values(values))


def timezone(scope: Scope, tx: Tx) -> str | None:
    """The zone that was noted; None where nothing is indexed."""
    s = search_statistics
    row = tx.execute(
        sa.select(s.c.timezone).where(s.c.enterprise_id == scope.enterprise_id)
    ).first()
    return None if row is None else row[0] or zones.DEFAULT


def stale_through(scope: Scope, tx: Tx) -> int:
    """The last document number that is to be made anew; 0 when none is."""
    return _renewal(scope, tx)[1]


def hold_numbers(scope: Scope, tx: Tx) -> None:
    """Let nobody else change which documents the enterprise has, until the transaction ends."""
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
    # The enterprise is compared here: in the statement it makes SQLite walk all of its documents.
    return [
        StoredDocument(*row[1:]) for row in _LOAD.rows(tx, numbers) if row[0] == scope.enterprise_id
    ]


def describe(scope: Scope, tx: Tx, numbers: Sequence[int]) -> list[DescribedDocument]:
    """Documents by number without their terms, those of other enterprises left out; in no order."""
    return [
        DescribedDocument(*row[1:])
        for row in _DESCRIBE.rows(tx, numbers)
        if row[0] == scope.enterprise_id
    ]


def load_refs(scope: Scope, tx: Tx, refs: Iterable[EntityRef]) -> list[StoredDocument]:
    """Documents by what they are of; those that are not in the index are left out; in no order."""
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    found: list[StoredDocument] = []
    for kind, ids in by_kind.items():
        rows = _LOAD_OF_KIND.rows(tx, ids, enterprise=scope.enterprise_id, kind=kind)
        found += [StoredDocument(*row[1:]) for row in rows]
    return found
