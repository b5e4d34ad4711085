"""All SQL of embeddings: the vectors that were made, and how far each model has come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import repository
from claude_mem.domains.retrieval.chunks import CHUNKING
from claude_mem.domains.retrieval.tables import (
    search_documents,
    vector_embeddings,
    vector_models,
)
from claude_mem.domains.sql import Lookup, among, insert_many
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.vectors import VectorEntry, VectorModel

MOST_GAPS: Final = 40
_AT_ONCE = 500  # parameters a statement
Gap = tuple[int, int]  # document numbers above the first, up to the second


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a model has come: see `vector_models`."""

    model: VectorModel
    chunking: int
    head: int
    gaps: tuple[Gap, ...]
    documents: int

    @property
    def is_outdated(self) -> bool:
        """Whether texts were cut in another way than this program does."""
        return self.chunking != CHUNKING


class Stored(NamedTuple):
    """A vector as it is kept: a row of `vector_embeddings` without its enterprise."""

    id: str
    ref: EntityRef
    model: VectorModel
    chunk_index: int
    total_chunks: int
    content_hash: bytes
    document_hash: bytes
    vector: bytes

    @property
    def owner(self) -> str:
        """What the engine is told of whose it is: see `owner_of`."""
        return _owner(self.ref.kind, self.ref.id, self.chunk_index)


_OWNERS_KEPT = 8_192  # the same come near again and again
_ID_CHARS: Final = 36


def _owner(kind: str, entity_id: str, piece: int) -> str:
    return f"{kind} {entity_id} {piece}"


def owner_name(ref: EntityRef) -> str:
    """What the engine calls whose a vector is, whichever piece it is of."""
    return f"{ref.kind} {ref.id}"


@lru_cache(maxsize=_OWNERS_KEPT)
def owner_of(told: str) -> tuple[EntityRef, int] | None:
    """Whose a vector is and which piece of it, as the engine was told; None for what says nothing of the kind."""
    try:
        kind, entity_id, piece = told.split(" ")
        return (EntityRef(kind, entity_id), int(piece)) if len(entity_id) == _ID_CHARS else None
    except ValueError:
        return None


def progress(scope: Scope, tx: Tx, model: VectorModel) -> Progress | None:
    """How far the model has come; None for one that was never begun."""
    found = tx.execute(_PROGRESS.where(_is_of(vector_models, scope, model))).first()
    return None if found is None else _progress_of(found)


def models(scope: Scope, tx: Tx) -> list[Progress]:
    """How far every model has come that has been begun."""
    m = vector_models
    query = _PROGRESS.where(m.c.enterprise_id == scope.enterprise_id)
    return [_progress_of(row) for row in tx.execute(query.order_by(m.c.model_name, m.c.dimension))]


def reach_for_new(scope: Scope, tx: Tx, model: VectorModel) -> Progress:
    """Take up what was indexed since, as a gap to be worked off; begins a model that is new.

    From then on none of these numbers is given out again: a document that changes has another one.
    """
    repository.hold_numbers(scope, tx)
    last, now = repository.collection(scope, tx).last, now_ms()
    was = progress(scope, tx, model)
    if was is None:
        gaps: list[Gap] = [(0, last)] if last else []
        made = Progress(model, CHUNKING, last, tuple(gaps), 0)
        insert_many(tx, vector_models, [_row(scope, made, now)])
        return made
    if was.is_outdated:  # everything is looked at again; what is still the same is left
        is_now = replace(
            was, chunking=CHUNKING, head=max(last, was.head), gaps=((0, last),) if last else ()
        )
    elif last > was.head:
        is_now = replace(was, head=last, gaps=_with_gap(was.gaps, (was.head, last), was.head))
    else:
        return was
    _keep(scope, tx, is_now)
    return is_now


def begin_again(scope: Scope, tx: Tx, model: VectorModel) -> None:
    """Have every document looked at again; those whose vectors are there and right keep them."""
    was = progress(scope, tx, model)
    if was is not None and was.head:
        _keep(scope, tx, replace(was, gaps=((0, was.head),)))


def newest_between(
    scope: Scope, tx: Tx, above: int, through: int, limit: int
) -> tuple[dict[int, EntityRef], int]:
    """The newest documents above one number and up to another, and above which number all was looked at.

    `limit` are looked at: where enterprises share a table, fewer may be the enterprise's.
    """
    d = search_documents
    query = (
        sa.select(d.c.id, d.c.enterprise_id, d.c.kind, d.c.entity_id)
        .where(d.c.id > above, d.c.id <= through)
        .order_by(d.c.id.desc())
        .limit(limit)
    )
    rows = tx.execute(query).all()
    # The enterprise is compared here: in the statement it makes SQLite walk all of its documents.
    ours = {row[0]: EntityRef(row[2], row[3]) for row in rows if row[1] == scope.enterprise_id}
    return ours, rows[-1][0] - 1 if len(rows) == limit else above


def settle_gap(
    scope: Scope, tx: Tx, model: VectorModel, gap: Gap, down_to: int, embedded: int
) -> None:
    """Note that of a gap nothing above `down_to` is left, and that so many more documents have vectors."""
    was = progress(scope, tx, model)
    if was is None:
        return
    gaps = [(each[0], down_to) if each == gap else each for each in was.gaps]
    left = tuple(each for each in gaps if each[1] > each[0])
    _keep(scope, tx, replace(was, gaps=left, documents=was.documents + embedded))


def still_there(scope: Scope, tx: Tx, numbers: Mapping[int, EntityRef]) -> set[int]:
    """Those documents that are what they were: one that changes gets another number."""
    found = repository.refs_of(scope, tx, list(numbers))
    return {number for number, ref in numbers.items() if found.get(number) == ref}


def add(scope: Scope, tx: Tx, rows: Sequence[Stored]) -> None:
    """Keep vectors."""
    now = now_ms()
    insert_many(
        tx,
        vector_embeddings,
        [
            (
                *(scope.enterprise_id, row.id, row.ref.kind, row.ref.id),
                *(row.model.name, row.model.dimension, row.chunk_index, row.total_chunks),
                *(row.content_hash, row.document_hash, {}, now, row.vector),
            )
            for row in rows
        ],
    )


def made_of(
    scope: Scope, tx: Tx, model: VectorModel, refs: Iterable[EntityRef]
) -> dict[EntityRef, bytes]:
    """What each entity's vectors of the model were made of (`document_hash`); those without are left out."""
    v = vector_embeddings
    query = sa.select(v.c.resource_type, v.c.resource_id, v.c.document_hash)
    rows = _by_refs(scope, tx, query.where(_is_of(v, scope, model), v.c.chunk_index == 0), refs)
    return {EntityRef(row[0], row[1]): row[2] for row in rows}


def known_texts(
    scope: Scope, tx: Tx, model: VectorModel, hashes: Sequence[bytes]
) -> dict[bytes, bytes]:
    """Vectors of texts that were embedded already, by `content_hash`."""
    v = vector_embeddings
    found: dict[bytes, bytes] = {}
    for at in range(0, len(hashes), _AT_ONCE):
        query = sa.select(v.c.content_hash, v.c.vector_data).where(
            _is_of(v, scope, model), v.c.content_hash.in_(hashes[at : at + _AT_ONCE])
        )
        found.update({row[0]: row[1] for row in tx.execute(query)})
    return found


def changed(scope: Scope, tx: Tx, now: Mapping[EntityRef, bytes]) -> list[EntityRef]:
    """Entities that have a vector made of something else than `now` says (`document_hash`)."""
    v = vector_embeddings
    query = sa.select(v.c.resource_type, v.c.resource_id, v.c.document_hash).where(
        v.c.enterprise_id == scope.enterprise_id, v.c.chunk_index == 0
    )
    rows = _by_refs(scope, tx, query, now)
    refs = [(EntityRef(row[0], row[1]), row[2]) for row in rows]
    return list(dict.fromkeys(ref for ref, made in refs if made != now[ref]))


def remove(
    scope: Scope, tx: Tx, refs: Iterable[EntityRef], model: VectorModel | None = None
) -> list[str]:
    """Delete the vectors of entities, of one model or of all; their ids."""
    v = vector_embeddings
    query = sa.select(v.c.id, v.c.model_name, v.c.dimension, v.c.chunk_index).where(
        v.c.enterprise_id == scope.enterprise_id if model is None else _is_of(v, scope, model)
    )
    return _delete(scope, tx, list(_by_refs(scope, tx, query, refs)))


def remove_some(scope: Scope, tx: Tx, model: VectorModel, limit: int) -> list[str]:
    """Delete some of a model's vectors, and what is known of its progress with the last; their ids."""
    v = vector_embeddings
    query = sa.select(v.c.id, v.c.model_name, v.c.dimension, v.c.chunk_index)
    rows = tx.execute(query.where(_is_of(v, scope, model)).limit(limit)).all()
    gone = _delete(scope, tx, rows)
    if len(rows) < limit:
        tx.execute(sa.delete(vector_models).where(_is_of(vector_models, scope, model)))
    return gone


def remove_orphans(scope: Scope, tx: Tx) -> list[str]:
    """Delete the vectors of what is in the index no more; their ids. Reads every row: for who makes all anew."""
    v, d = vector_embeddings, search_documents
    is_there = sa.exists().where(
        d.c.enterprise_id == v.c.enterprise_id,
        d.c.kind == v.c.resource_type,
        d.c.entity_id == v.c.resource_id,
    )
    query = sa.select(v.c.id, v.c.model_name, v.c.dimension, v.c.chunk_index).where(
        v.c.enterprise_id == scope.enterprise_id, ~is_there
    )
    return _delete(scope, tx, tx.execute(query).all())


def owners(scope: Scope, tx: Tx, ids: Sequence[str]) -> dict[str, tuple[EntityRef, int]]:
    """Whose vectors those are, and which piece of it each is of."""
    rows = _OWNERS.rows(tx, ids, enterprise=scope.enterprise_id)
    return {row[0]: (EntityRef(row[1], row[2]), row[3]) for row in rows}


def vectors_of(
    scope: Scope, tx: Tx, model: VectorModel, refs: Iterable[EntityRef]
) -> list[tuple[EntityRef, int, bytes]]:
    """(entity, piece, vector) of those entities that have vectors of the model."""
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    found: list[tuple[EntityRef, int, bytes]] = []
    same = {"enterprise": scope.enterprise_id, "model": model.name, "dimension": model.dimension}
    for kind, ids in by_kind.items():
        rows = _VECTORS.rows(tx, ids, kind=kind, **same)
        found += [(EntityRef(kind, row[0]), row[1], row[2]) for row in rows]
    return found


def page(
    scope: Scope, tx: Tx, model: VectorModel, after: str | None, limit: int
) -> list[VectorEntry]:
    """The next of a model in order of id: what an index is made from."""
    v, d = vector_embeddings, search_documents
    owner = v.c.resource_type, v.c.resource_id, v.c.chunk_index
    query = (
        sa.select(v.c.id, d.c.project_id, v.c.vector_data, *owner)
        .join(
            d,
            sa.and_(
                d.c.enterprise_id == v.c.enterprise_id,
                d.c.kind == v.c.resource_type,
                d.c.entity_id == v.c.resource_id,
            ),
        )
        .where(_is_of(v, scope, model))
    )
    if after is not None:
        query = query.where(v.c.id > after)
    rows = tx.execute(query.order_by(v.c.id).limit(limit))
    return [VectorEntry(row[0], row[1], row[2], _owner(*row[3:])) for row in rows]


_M = vector_models.c
_PROGRESS = sa.select(_M.model_name, _M.dimension, _M.chunking, _M.head, _M.gaps, _M.documents)
_V = vector_embeddings.c
_OWNERS = Lookup(
    sa.select(_V.id, _V.resource_type, _V.resource_id, _V.chunk_index).where(
        _V.enterprise_id == sa.bindparam("enterprise")
    ),
    _V.id,
)
_VECTORS = Lookup(
    sa.select(_V.resource_id, _V.chunk_index, _V.vector_data).where(
        _V.enterprise_id == sa.bindparam("enterprise"),
        _V.resource_type == sa.bindparam("kind"),
        _V.model_name == sa.bindparam("model"),
        _V.dimension == sa.bindparam("dimension"),
    ),
    _V.resource_id,
)


def _is_of(table: sa.Table, scope: Scope, model: VectorModel) -> Any:
    return sa.and_(
        table.c.enterprise_id == scope.enterprise_id,
        table.c.model_name == model.name,
        table.c.dimension == model.dimension,
    )


def _by_refs(scope: Scope, tx: Tx, query: Any, refs: Iterable[EntityRef]) -> Iterator[Any]:
    del scope  # the query names the enterprise
    v = vector_embeddings
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    for kind, ids in by_kind.items():
        for at in range(0, len(ids), _AT_ONCE):
            of_some = among(tx, v.c.resource_id, ids[at : at + _AT_ONCE])
            yield from tx.execute(query.where(v.c.resource_type == kind, of_some)).all()


def _delete(scope: Scope, tx: Tx, rows: Sequence[Any]) -> list[str]:
    """Delete rows of (id, model, dimension, piece), and count the documents down."""
    v, m = vector_embeddings, vector_models
    ids = [row[0] for row in rows]
    for at in range(0, len(ids), _AT_ONCE):
        some = among(tx, v.c.id, ids[at : at + _AT_ONCE])
        tx.execute(sa.delete(v).where(v.c.enterprise_id == scope.enterprise_id, some))
    fewer: dict[VectorModel, int] = {}
    for row in rows:
        if row[3] == 0:
            key = VectorModel(row[1], row[2])
            fewer[key] = fewer.get(key, 0) + 1
    for model, count in sorted(fewer.items(), key=lambda it: (it[0].name, it[0].dimension)):
        tx.execute(
            sa.update(m).where(_is_of(m, scope, model)).values(documents=m.c.documents - count)
        )
    return ids


def _with_gap(gaps: tuple[Gap, ...], new: Gap, head: int) -> tuple[Gap, ...]:
    """With another gap at the end; it goes on where one that was not begun yet ends."""
    if gaps and gaps[-1][1] == head:
        return (*gaps[:-1], (gaps[-1][0], new[1]))
    if len(gaps) >= MOST_GAPS:  # what lies between is looked at again, and found done
        gaps = ((gaps[0][0], gaps[1][1]), *gaps[2:])
    return (*gaps, new)


def _keep(scope: Scope, tx: Tx, now: Progress) -> None:
    m = vector_models
    tx.execute(
        sa.update(m)
        .where(_is_of(m, scope, now.model))
        .values(
            chunking=now.chunking,
            head=now.head,
            gaps=[list(gap) for gap in now.gaps],
            documents=now.documents,
            updated_at=now_ms(),
        )
    )


def _row(scope: Scope, it: Progress, now: int) -> tuple[Any, ...]:
    gaps = [list(gap) for gap in it.gaps]
    key = (scope.enterprise_id, it.model.name, it.model.dimension)
    return (*key, it.chunking, it.head, gaps, it.documents, now)


def _progress_of(row: Any) -> Progress:
    gaps = tuple((int(above), int(through)) for above, through in row[4])
    return Progress(VectorModel(row[0], row[1]), row[2], row[3], gaps, row[5])
