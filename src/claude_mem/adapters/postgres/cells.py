"""Cells of vectors: centres that many vectors gather around. Pure, by numpy, which is loaded when it is first needed.

Vectors are of length 1, a row each, so the nearest centre is that of the greatest product (spherical k-means). All is
drawn from a fixed seed: the same vectors give the same cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from claude_mem.kernel.errors import Unavailable

_ROUNDS: Final = 5
_BLOCK: Final = 4_096  # rows that are multiplied at once
_LOPSIDED: Final = 0.05  # a part with a smaller share of what is parted is none


def numpy() -> Any:
    """The module; raises Unavailable where it is missing."""
    try:
        import numpy as module  # here: it takes a tenth of a second, and most processes settle no vector
    except ModuleNotFoundError as error:
        raise Unavailable("vector search needs numpy: install it beside the program") from error
    return module


def matrix(arrays: Sequence[bytes], dimension: int) -> Any:
    """A row each, of what PostgreSQL's `array_send` makes of a `real[]`: a head, then length and number in turn."""
    np = numpy()
    row = np.dtype([("head", "V20"), ("numbers", [("length", ">i4"), ("value", ">f4")], dimension)])
    read = np.frombuffer(b"".join(arrays), dtype=row)
    return read["numbers"]["value"].astype("<f4")


def nearest(vectors: Any, centres: Any) -> Any:
    """The place of each vector's nearest centre."""
    np = numpy()
    places = [
        (vectors[at : at + _BLOCK] @ centres.T).argmax(1) for at in range(0, len(vectors), _BLOCK)
    ]
    return np.concatenate(places) if places else np.empty(0, dtype=int)


def gathered(vectors: Any, count: int) -> Any:
    """At most `count` centres of vectors."""
    np = numpy()
    drawn = np.random.default_rng(len(vectors)).choice(
        len(vectors), min(count, len(vectors)), replace=False
    )
    centres = vectors[drawn]
    for _ in range(_ROUNDS):
        centres = _means(vectors, nearest(vectors, centres), centres)
    return centres


def parted(vectors: Any, count: int) -> tuple[Any, Any]:
    """(centres, the place of each vector's) of one cell that is to be `count`: none of them is nearly all of it.

    What does not fall apart, as equal vectors do not, is cut in equal parts.
    """
    np = numpy()
    centres = gathered(vectors, count)
    places = nearest(vectors, centres)
    if np.bincount(places, minlength=len(centres)).max() > (1 - _LOPSIDED) * len(vectors):
        along = vectors @ (vectors[0] - vectors.mean(0))
        places = np.empty(len(vectors), dtype=int)
        places[np.argsort(along, kind="stable")] = np.arange(len(vectors)) * count // len(vectors)
        centres = _means(vectors, places, vectors[:count])
    return centres, places


def _means(vectors: Any, places: Any, centres: Any) -> Any:
    """The directions of what is at each place; where nothing is, the centre that is there."""
    np = numpy()
    order = np.argsort(places, kind="stable")
    taken, first = np.unique(places[order], return_index=True)
    sums = np.add.reduceat(vectors[order], first, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means = centres.copy()
    means[taken] = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres[taken])
    return means
