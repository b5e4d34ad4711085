"""The rows of a space that are kept in memory: all of them where they are few, else those after a graph.

Owns how rows are kept and compared there. A `Tail` is never changed, so that several searches may compare at once; what
comes later makes another one, which shares what it can. numpy is given by who asks: it is loaded by the first search.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from claude_mem.ports.vectors import Neighbour

Projects: TypeAlias = tuple[str, ...] | None
Row: TypeAlias = tuple[int, str, bytes, bytes, str | None]  # number, project, vector, id, owner

COLUMNS: Final = "number, project_id, vector, id, owner"
DIGITS: Final = 6  # of a cosine: what sixteen bits a number can tell
_EQUAL: Final = 10.0**-DIGITS


@dataclass(frozen=True)
class Part:
    """Rows as they are compared, vectors at length 1; `codes` are their projects' places in a tail's list."""

    numbers: Any
    codes: Any
    matrix: Any
    ids: tuple[bytes, ...]
    owners: tuple[str | None, ...]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.ids)

    @cached_property
    def is_told(self) -> bool:
        """Whether it says of every vector whose it is."""
        return None not in self.owners

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Where the vectors of each owner are, by its name without the last word; made when it is first asked for."""
        found: dict[str, list[int]] = {}
        for place, owner in enumerate(self.owners):
            if owner is not None:
                found.setdefault(owner.rpartition(" ")[0], []).append(place)
        return found


@dataclass(frozen=True, slots=True)
class Tail:
    """Rows of a space after `begin`, up to `last`; the later, the shorter the part. `serial` tells one that is kept
    from all that were before it.
    """

    begin: int
    last: int
    serial: int = 0
    parts: tuple[Part, ...] = ()
    projects: tuple[str, ...] = ()
    size: int = 0

    @property
    def is_told(self) -> bool:
        """Whether it says of every vector whose it is: rows of an earlier program do not."""
        return all(part.is_told for part in self.parts)


class Comparing:
    """One question's vector against rows."""

    def __init__(self, numpy: Any, probe: Sequence[float]) -> None:
        self.numpy = numpy
        self.probe = numpy.asarray(probe, dtype="<f4")

    def matrix(self, vectors: Sequence[bytes]) -> Any:
        """Vectors of 16 bits a number as rows of 32, at length 1; one that was damaged is near to nothing."""
        numpy, nothing = self.numpy, bytes(2 * len(self.probe))
        whole = [it if len(it) == len(nothing) else nothing for it in vectors]
        rows = numpy.frombuffer(b"".join(whole), dtype="<f2").reshape(len(whole), -1).astype("<f4")
        lengths = numpy.linalg.norm(rows, axis=1, keepdims=True)
        points = numpy.isfinite(lengths) & (lengths > 0)
        if not points.all():
            rows[~points[:, 0]] = 0
            lengths[~points] = 1
        rows /= lengths
        return rows

    def cosines(self, matrix: Any) -> Any:
        """Of each row. Not `@`: for that numpy has all processors turn, 300 times slower on a busy machine."""
        return self.numpy.vecdot(matrix, self.probe)

    # -- making tails -----------------------------------------------------------------------------

    def longer(self, tail: Tail, rows: Sequence[Row]) -> Tail:
        """A tail with more rows. Parts become one as long as the later is not the shorter: few are left, and none is
        copied often.
        """
        places = {name: at for at, name in enumerate(tail.projects)}
        numbers, projects, vectors, ids, owners = zip(*rows, strict=True)
        codes = [places.setdefault(name, len(places)) for name in projects]
        numpy = self.numpy
        added = Part(
            numpy.asarray(numbers),
            numpy.asarray(codes),
            self.matrix(vectors),
            ids,
            tuple(owner if isinstance(owner, str) else None for owner in owners),
        )
        parts = [*tail.parts, added]
        while len(parts) > 1 and len(parts[-2]) <= len(parts[-1]):
            parts[-2:] = [self._joined(*parts[-2:])]
        size = tail.size + len(rows)
        return Tail(tail.begin, rows[-1][0], 0, tuple(parts), tuple(places), size)

    def without(self, tail: Tail, alive: Sequence[int]) -> Tail:
        """A tail without the rows that are not among those numbers."""
        numpy = self.numpy
        numbers = numpy.asarray(alive, dtype="i8")
        kept = [(part, numpy.isin(part.numbers, numbers)) for part in tail.parts]
        parts = tuple(
            part if stays.all() else self._some(part, stays) for part, stays in kept if stays.any()
        )
        return Tail(tail.begin, tail.last, 0, parts, tail.projects, sum(map(len, parts)))

    def _joined(self, first: Part, second: Part) -> Part:
        put = self.numpy.concatenate
        return Part(
            put([first.numbers, second.numbers]),
            put([first.codes, second.codes]),
            put([first.matrix, second.matrix]),
            first.ids + second.ids,
            first.owners + second.owners,
        )

    def _some(self, part: Part, stays: Any) -> Part:
        places = self.numpy.flatnonzero(stays).tolist()
        return Part(
            part.numbers[stays],
            part.codes[stays],
            part.matrix[stays],
            tuple(part.ids[at] for at in places),
            tuple(part.owners[at] for at in places),
        )

    # -- asking them ------------------------------------------------------------------------------

    def among(self, tail: Tail, projects: Projects, most: int) -> set[int]:
        """The numbers of the nearest `most` of a tail or more, and of all that are as near as the last of them."""
        found = list(self._scored(tail, projects))
        if not found:
            return set()
        put = self.numpy.concatenate
        numbers = put([part.numbers[places] for part, places, _ in found])
        return set(self._best(numbers, put([scores for *_, scores in found]), most).tolist())

    def among_rows(self, rows: Sequence[Row], projects: Projects, most: int) -> set[int]:
        """The same of rows that are compared for this question only."""
        wanted = rows if projects is None else [row for row in rows if row[1] in projects]
        if not wanted:
            return set()
        numbers = self.numpy.asarray([row[0] for row in wanted])
        scores = self.cosines(self.matrix([row[2] for row in wanted]))
        return set(self._best(numbers, scores, most).tolist())

    def nearest(self, tail: Tail, projects: Projects, limit: int) -> tuple[Neighbour, ...]:
        """The nearest of a tail itself, the nearest first, of equals by id."""
        found: list[tuple[float, bytes, str]] = []
        for part, places, scores in self._scored(tail, projects):
            best = self._best(self.numpy.arange(len(scores)), scores, limit)
            within = best if isinstance(places, slice) else places[best]
            found += [
                (-round(score, DIGITS), part.ids[at], part.owners[at] or "")
                for at, score in zip(within.tolist(), scores[best].tolist(), strict=True)
            ]
        return told(found, limit)

    def of_owners(self, tail: Tail, owners: Collection[str]) -> dict[str, float]:
        """The cosine of each owner's nearest vector in a tail; those without one are left out."""
        found: dict[str, float] = {}
        for part in tail.parts:
            places = part.places
            theirs = [(name, at) for name in owners if name in places for at in places[name]]
            if theirs:
                scores = self.cosines(part.matrix[[at for _, at in theirs]]).tolist()
                for (name, _), score in zip(theirs, scores, strict=True):
                    if score > found.get(name, -2.0):
                        found[name] = score
        return found

    def _scored(self, tail: Tail, projects: Projects) -> Iterator[tuple[Part, Any, Any]]:
        """(part, places of what is asked for, their cosines) of each part that has any."""
        numpy = self.numpy
        wanted = [at for at, name in enumerate(tail.projects) if projects and name in projects]
        for part in tail.parts:
            if projects is None:
                yield part, slice(None), self.cosines(part.matrix)
            elif len(places := numpy.flatnonzero(numpy.isin(part.codes, wanted))):
                yield part, places, self.cosines(part.matrix[places])

    def _best(self, values: Any, scores: Any, most: int) -> Any:
        if len(scores) <= most:
            return values
        return values[scores >= self.numpy.partition(scores, -most)[-most] - _EQUAL]


def told(found: Sequence[tuple[float, bytes, str]], limit: int) -> tuple[Neighbour, ...]:
    """The first of (cosine times -1, id, owner) as they are told."""
    best = sorted(found)[:limit]
    return tuple([Neighbour(_text(key), -score, owner) for score, key, owner in best])


def _text(key: bytes) -> str:
    """A UUID as text: four times as fast as the class, which counts where hundreds are read for one question."""
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
