"""The vector leg of a search: which remembered things mean what a question does.

Asks the engine with a vector that somebody else made of the question, and says whose the vectors are that lie nearest.
Only the served model's vectors are compared: those of the embedder's model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import vector_repository
from claude_mem.domains.retrieval.embedding import Coverage, VectorKeeper
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.vectors import MAX_NEIGHBOURS, Neighbour, VectorIndex, VectorModel, unit

_SPARE: Final = 1.25  # vectors asked for of each thing wanted: long ones have several that are near
_ENOUGH: Final = 0.75  # of the things wanted: the last of them hardly matter, and asking again costs as much again


class Near(NamedTuple):
    """A thing and the piece of it that is nearest: `similarity` is the cosine."""

    ref: EntityRef
    similarity: float
    chunk_index: int


class VectorLeg:
    """Everything happens in the caller's transaction. Raises Unavailable where there is no model or no engine."""

    def __init__(self, vectors: VectorIndex, keeper: VectorKeeper, embedder: Embedder) -> None:
        self._vectors = vectors
        self._keeper = keeper
        self._embedder = embedder

    def nearest(
        self,
        scope: Scope,
        tx: Tx,
        vector: bytes,
        project_ids: Sequence[str] | None,
        limit: int,
        *,
        quick: bool = False,
    ) -> list[Near]:
        """The nearest things of the enterprise, or of those projects, each once, the nearest first; `limit` at most.

        `quick` as in the port. Raises Invalid for a vector that is none of the model.
        """
        model = self._model()
        most = min(int(limit * _SPARE) + 1, MAX_NEIGHBOURS)
        while True:
            found = self._vectors.nearest(scope, tx, model, vector, project_ids, most, quick=quick)
            best = self._best(scope, tx, found)
            if len(best) >= limit * _ENOUGH or len(found) < most or most == MAX_NEIGHBOURS:
                return best[:limit]
            most = min(most * 4, MAX_NEIGHBOURS)

    def similarities(
        self, scope: Scope, tx: Tx, vector: bytes, refs: Iterable[EntityRef]
    ) -> dict[EntityRef, float]:
        """The cosine of each entity's nearest piece, exactly; those without a vector are left out.

        The nearest are asked for first, in the same transaction.
        """
        model = self._model()
        wanted = {vector_repository.owner_name(ref): ref for ref in refs}
        told = self._vectors.similarities(scope, tx, model, vector, wanted)
        if told is not None:
            return {wanted[name]: similarity for name, similarity in told.items()}
        probe = unit(model, vector)
        rows = vector_repository.vectors_of(scope, tx, model, wanted.values())
        if not rows:
            return {}
        numpy = _numpy()
        matrix = numpy.frombuffer(b"".join([row[2] for row in rows]), dtype="<f4")
        # Not `@`: for that numpy has all processors turn, which takes far longer where others need them.
        cosines = numpy.vecdot(matrix.reshape(len(rows), -1), numpy.asarray(probe, dtype="<f4"))
        best: dict[EntityRef, float] = {}
        for (ref, _, _), cosine in zip(rows, cosines.tolist(), strict=True):
            if cosine > best.get(ref, -2.0):
                best[ref] = cosine
        return best

    def coverage(self, scope: Scope, tx: Tx) -> Coverage:
        """How much of the enterprise has vectors of the served model. Raises nothing where there is no model."""
        return self._keeper.coverage(scope, tx)

    def _model(self) -> VectorModel:
        state = self._embedder.state()
        if state.model is None:
            raise Unavailable(state.reason or "there is no model")
        return state.model

    def _best(self, scope: Scope, tx: Tx, found: Sequence[Neighbour]) -> list[Near]:
        told = [vector_repository.owner_of(it.owner) for it in found]
        unknown = [it.id for it, owner in zip(found, told, strict=True) if owner is None]
        looked_up = vector_repository.owners(scope, tx, unknown) if unknown else {}
        best: dict[EntityRef, Near] = {}
        for (key, similarity, _), known in zip(found, told, strict=True):
            owner = known or looked_up.get(key)
            if owner is not None:
                ref, piece = owner
                if ref not in best:
                    best[ref] = Near(ref, similarity, piece)
        return list(best.values())


def _numpy() -> Any:
    """Loaded when it is needed. Raises Unavailable where it is not installed."""
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise Unavailable("vector search needs numpy: install it beside the program") from error
    return numpy
