"""The vector engine: which remembered things lie nearest to a query's vector.

An engine keeps vectors as they are given and compares them by cosine; it never makes one, and never sees a text. What
it holds is derived: `vector_embeddings` is the truth, from which it can be made anew. Vectors of different models are
never compared: a model's name and its number of dimensions are part of every key.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

MAX_DIMENSION: Final = 3_072
MAX_NEIGHBOURS: Final = 1_000
MAX_NAME_CHARS: Final = 100
_BYTES = 4  # of a number


@dataclass(frozen=True, slots=True)
class VectorModel:
    """What made the vectors. The same model at another number of dimensions is another one."""

    name: str
    dimension: int


@dataclass(frozen=True, slots=True)
class VectorEntry:
    """A vector to keep: `id` is a UUID; `vector` holds little-endian 32-bit floats (`pack`), of any length but zero.

    `owner` says whose it is, in the caller's words, the last of which tells the vectors of one owner apart: an engine
    that keeps it tells it with a hit, and saves who asks the looking up.
    """

    id: str
    project_id: str | None
    vector: bytes
    owner: str = ""


class Neighbour(NamedTuple):
    """`similarity` is the cosine: 1 for the same direction, -1 for the opposite. `owner` is the entry's, or empty where
    the engine does not know it. A tuple: a search makes hundreds.
    """

    id: str
    similarity: float
    owner: str = ""


class VectorIndex(Protocol):
    """Everything happens in the caller's transaction; enterprises never meet.

    Every method raises Unavailable where the engine is not installed, and leaves the transaction as it was: the caller
    goes on without.
    """

    def add(self, scope: Scope, tx: Tx, model: VectorModel, entries: Sequence[VectorEntry]) -> None:
        """Keep vectors under ids that are not in use. Raises Invalid for what is no vector of the model."""
        ...

    def remove(self, scope: Scope, tx: Tx, ids: Sequence[str]) -> None:
        """Take vectors out, of whatever model; unknown ids are passed over."""
        ...

    def nearest(
        self,
        scope: Scope,
        tx: Tx,
        model: VectorModel,
        query: bytes,
        project_ids: Sequence[str] | None,
        limit: int,
        *,
        quick: bool = False,
    ) -> tuple[Neighbour, ...]:
        """The nearest of the enterprise, or of those projects, the nearest first; of equals by id.

        Exact where they are few; where they are many, nearly all of them, and with `quick` a few less for an answer
        that a person waits for. `limit` is 1 to MAX_NEIGHBOURS. Raises Invalid, also for a query that is no vector of
        the model.
        """
        ...

    def similarities(
        self, scope: Scope, tx: Tx, model: VectorModel, query: bytes, owners: Collection[str]
    ) -> Mapping[str, float] | None:
        """The cosine of the nearest vector of each owner, named without its last word; those without one are left out.

        For who has just asked for the nearest, in the same transaction. None where the engine would have to look it
        up: then who asks can do that as well. Raises Invalid for a query that is no vector of the model.
        """
        ...

    def settle(self, scope: Scope, tx: Tx, model: VectorModel) -> bool:
        """Put some of what was added lately where it is found faster; True while there is more to do.

        Searches are right without it, and slower the more has been added since. One call takes about a second at most.
        """
        ...

    def purge(self, scope: Scope, tx: Tx) -> None:
        """Leave nothing of what was taken out in files of the engine's own; searches may be slower for a while."""
        ...


def pack(numbers: Iterable[float]) -> bytes:
    """Numbers as a vector's bytes; what is too great for 32 bits becomes infinite, and is no vector."""
    values = array("f", numbers)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def unpack(vector: bytes) -> array[float]:
    """The numbers of a vector's bytes."""
    values = array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def unit(model: VectorModel, vector: bytes) -> array[float]:
    """The vector at length 1, in 32-bit floats again. Raises Invalid for what is none, or points nowhere."""
    check_model(model)
    if len(vector) != model.dimension * _BYTES:
        raise Invalid(
            f"a vector of {model.name} has {model.dimension} numbers in {model.dimension * _BYTES} bytes, not"
            f" {len(vector)} bytes: it was made by another model, or cut"
        )
    values = unpack(vector)
    length = math.sqrt(sum([value * value for value in values]))
    if not math.isfinite(length) or length == 0:
        what = "only zeros" if length == 0 else "a number that is not finite"
        raise Invalid(
            f"the vector has {what}: it points nowhere, and the model that made it failed"
        )
    return array("f", [value / length for value in values])


def check_model(model: VectorModel) -> None:
    """Raise Invalid for a model without a name, or of a dimension that no engine keeps."""
    if not model.name or "\0" in model.name or len(model.name) > MAX_NAME_CHARS:
        raise Invalid(f"a model's name has 1 to {MAX_NAME_CHARS} characters")
    if not 1 <= model.dimension <= MAX_DIMENSION:
        raise Invalid(
            f"a model has 1 to {MAX_DIMENSION} dimensions, not {model.dimension}: have it make shorter vectors"
        )


def check_limit(limit: int) -> None:
    """Raise Invalid for a number of neighbours that cannot be asked for."""
    if not 1 <= limit <= MAX_NEIGHBOURS:
        raise Invalid(f"1 to {MAX_NEIGHBOURS} neighbours can be asked for, not {limit}")
