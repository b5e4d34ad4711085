"""Graphs over many vectors, as files: derived from `vector_rows`, written by the worker, mapped by whoever searches.

A graph is two files: the graph itself under a name of its own, and a note that names it and says what it is: model,
dimension, how far it goes, how many it holds, its checksum. The note is replaced in one step, so that whoever reads
sees one pair or the other. A graph that is missing, cut, of another model or from a later state than the database is
passed over, and made anew by the next `catch_up`; searches compare everything meanwhile.

Where usearch cannot be loaded there are no graphs.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from claude_mem.kernel.ids import new_id
from claude_mem.ports.vectors import VectorModel

WHOLE: Final = "all"  # of a space, whatever the project
# How wide a search walks: the more there are the wider, for questions about what few of them are near to. For others a
# walk of 400 finds all of the ten nearest of 100,000; for those one of 1,200 finds 95 to 99 of 100.
_NARROWEST, _WIDEST, _WALK = 256, 1_200, 0.02
_READ = 1 << 20


_State: TypeAlias = tuple[int, int, int]
_Seen: TypeAlias = tuple[_State, _State | None]  # of a note, and of the graph it names


@dataclass(frozen=True, slots=True)
class Note:
    """What a graph is of: every row of the part with a number up to `through` that was there."""

    file: str
    space: int
    part: str
    model: str
    dimension: int
    through: int
    count: int
    bytes: int
    checksum: int


class Graph:
    """An open graph, mapped from its file."""

    def __init__(self, note: Note, index: Any) -> None:
        self.note = note
        self._index = index
        self._lock = threading.Lock()  # how wide a walk is is set before it

    def nearest(self, probe: Any, limit: int, *, quick: bool = False) -> list[int]:
        """Numbers of the nearest rows, nearly all of them right; some may be gone since."""
        with self._lock:
            walk = _NARROWEST
            if not quick:
                walk = min(max(int(self.note.count * _WALK), _NARROWEST), _WIDEST)
            self._index.expansion_search = max(walk, limit)
            found = self._index.search(probe, min(limit, self.note.count), threads=1)
        return [int(key) for key in found.keys]


class Graphs:
    """The graphs of one database, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.unclean: set[int] = set()  # spaces whose graphs may hold nothing that is gone
        self._open: dict[Path, tuple[_Seen, Graph | None]] = {}
        self._lock = threading.Lock()

    def graph(self, space: int, part: str, model: VectorModel, last: int) -> Graph | None:
        """The graph of a part; None where there is none that can be used. `last`: the database's last number."""
        path = self._note_path(space, part)
        state = _seen(path)
        if state is None:
            return None
        with self._lock:
            known = self._open.get(path)
            # Its file too: one that was cut since it was mapped must not be walked, that kills the process.
            if known is None or known[0] != (state, self._file_of(known[1])):
                graph = self._mapped(path, space, part, model)
                known = ((state, self._file_of(graph)), graph)
                self._open[path] = known
        found = known[1]
        return found if found is not None and found.note.through <= last else None

    def faults(self) -> Iterator[tuple[Path, str]]:
        """Graphs that cannot be used as they are, by note, and why; reads every one of them whole."""
        for path in sorted(self._folder.glob("*.json")):
            note = _read(path)
            if note is None:
                yield path, "says nothing that can be read"
            elif not (file := self._folder / note.file).exists():
                yield path, f"names {note.file}, which is gone"
            elif not _is_whole(file, note):
                yield path, f"names {note.file}, which is damaged"

    def write(self, index: Any, note: Note) -> None:
        """Take over a graph that was built. The one before goes; who has it mapped keeps it until it looks again.

        Raises OSError where it cannot be written; the one before stays.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / f"{new_id()}.graph"
        try:
            index.save(str(file))
        except (
            RuntimeError
        ) as error:  # what usearch makes of a full disk, or of one that may not be written
            file.unlink(missing_ok=True)
            raise OSError(str(error)) from error
        said = asdict(note) | {
            "file": file.name,
            "bytes": file.stat().st_size,
            "checksum": _checksum(file),
        }
        path = self._note_path(note.space, note.part)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(said))
        fresh.replace(path)
        self._sweep()

    def drop(self, space: int) -> None:
        """Delete every graph of a space."""
        for path in self._folder.glob(f"{space}-*.json"):
            path.unlink(missing_ok=True)
        self._sweep()

    def notes(self) -> Iterator[Note]:
        """What every graph says it is."""
        for path in sorted(self._folder.glob("*.json")):
            note = _read(path)
            if note is not None:
                yield note

    def _file_of(self, graph: Graph | None) -> _State | None:
        return None if graph is None else _seen(self._folder / graph.note.file)

    def _note_path(self, space: int, part: str) -> Path:
        # A project's id comes from whoever asks: it is no part of a path as it is.
        return self._folder / f"{space}-{blake2b(part.encode(), digest_size=8).hexdigest()}.json"

    def _sweep(self) -> None:
        """Delete graphs that no note names: of a write that was broken off, or replaced."""
        named = {note.file for note in self.notes()}
        for file in self._folder.glob("*.graph"):
            if file.name not in named:
                file.unlink(missing_ok=True)

    def _mapped(self, path: Path, space: int, part: str, model: VectorModel) -> Graph | None:
        note = _read(path)
        if note is None or (note.space, note.part) != (space, part):
            return None
        if (note.model, note.dimension) != (model.name, model.dimension):
            return None
        file = self._folder / note.file
        if not _is_whole(file, note):
            return None
        index = new_index(note.dimension)
        if index is None:
            return None
        index.view(str(file))
        return Graph(note, index) if len(index) == note.count else None


def new_index(dimension: int) -> Any:
    """An empty graph; None where usearch is not installed. Eight bits a number: what is found is compared exactly."""
    # usearch opens a library for all that come after it, and onnxruntime, coming after it, takes functions of the C++
    # runtime from there and ends the process (seen on Linux with 2.26 and 1.32). The other way about both work.
    with suppress(ImportError):
        import onnxruntime  # noqa: F401
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        return None
    return Index(ndim=dimension, metric="cos", dtype="i8", connectivity=48, expansion_add=200)


def loaded(folder: Path, note: Note) -> Any:
    """A graph read into memory, to be added to; None where it cannot be."""
    file = folder / note.file
    index = new_index(note.dimension) if _is_whole(file, note) else None
    if index is not None:
        index.load(str(file))
    return index


def _read(path: Path) -> Note | None:
    try:
        return Note(**orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _seen(path: Path) -> _State | None:
    """What changes when a file does; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _is_whole(file: Path, note: Note) -> bool:
    try:
        return file.stat().st_size == note.bytes and _checksum(file) == note.checksum
    except OSError:
        return False


def _checksum(file: Path) -> int:
    total = 0
    with file.open("rb") as opened:
        while some := opened.read(_READ):
            total = zlib.crc32(some, total)
    return total
