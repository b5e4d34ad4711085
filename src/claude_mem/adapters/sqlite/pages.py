"""The pages of a SQLite file as they lie on disk, its write-ahead log laid over them; and the rows in them.

Owns what is known of the file format (sqlite.org/fileformat2.html): frames of the log, the pointer map that says whose
child a page is, cells, overflow chains, records. Reads only, and without SQLite, which refuses a file that is damaged
where it looks first. Must never believe what it reads: every length and page number may be garbage.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

MAGIC: Final = b"SQLite format 3\x00"
TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER = 0x0D, 0x05, 0x0A, 0x02
TREE_PAGES: Final = frozenset({TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER})
INNER_PAGES: Final = frozenset({TABLE_INNER, INDEX_INNER})
ROOT, FREE, OVERFLOW_FIRST, OVERFLOW_NEXT, CHILD = 1, 2, 3, 4, 5
DEFAULT_PAGE_SIZE: Final = 4096
_LOCK_BYTE: Final = 1 << 30
_CUT_AT_MOST: Final = 64  # a header that says more times the pages that are there is not believed
_WAL_HEADER, _FRAME_HEADER = 32, 24
_WAL_LITTLE, _WAL_BIG = 0x377F0682, 0x377F0683
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Value = int | float | str | bytes | None


class Damaged(Exception):  # noqa: N818 - named for what is the matter
    """What was read is no cell, chain or record."""


class Cell(NamedTuple):
    """One row as stored: its rowid (None in an index tree) and its values."""

    rowid: int | None
    values: list[Value]


class Pages:
    """The pages of one file. `wal`: whether to lay its write-ahead log over them."""

    def __init__(self, path: Path, *, wal: bool) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._wal = -1
        self._frames: dict[int, int] = {}
        head = self._read(self._file, 0, 100)
        self.has_header = head.startswith(MAGIC)
        beside = path.with_name(path.name + "-wal")
        if wal and beside.exists():
            self._wal = os.open(beside, os.O_RDONLY | os.O_CLOEXEC)
        self.size = _page_size(head, self._read(self._wal, 0, _WAL_HEADER) if wal else b"")
        self.usable = self.size - (head[20] if self.has_header else 0)
        self._has_map = not self.has_header or any(head[52:56])
        self._map_page: tuple[int, bytes] = (0, b"")
        self.count = self._there = -(-os.fstat(self._file).st_size // self.size)
        if self.has_header:  # a file that was cut short: what is gone still counts as lost
            said = int.from_bytes(head[28:32], "big")
            self.count = max(self._there, min(said, self._there * _CUT_AT_MOST))
        if self._wal >= 0:
            self._lay_over()
        self._entries = self.usable // 5

    def close(self) -> None:
        """Let go of the files."""
        for handle in (self._file, self._wal):
            if handle >= 0:
                os.close(handle)

    @property
    def frames(self) -> int:
        """How many pages the write-ahead log changes."""
        return len(self._frames)

    def page(self, number: int) -> bytes:
        """The page (from 1); zeros for what lies beyond the end or cannot be read."""
        at = self._frames.get(number)
        if at is not None:
            return self._read(self._wal, at, self.size)
        if not 0 < number <= self._there:
            return bytes(self.size)
        return self._read(self._file, (number - 1) * self.size, self.size)

    def kind(self, number: int, page: bytes) -> int:
        """The tree page's type, 0 when it is none."""
        found = page[100 if number == 1 else 0]
        return found if found in TREE_PAGES else 0

    def pointer(self, number: int) -> tuple[int, int]:
        """(type, parent) of a page by the file's pointer map; (0, 0) where the map does not tell."""
        if number < 3 or not self._has_map:
            return 0, 0
        span = self._entries + 1
        mapped_by = (number - 2) // span * span + 2
        if mapped_by == _LOCK_BYTE // self.size + 1:
            mapped_by += 1
        if number <= mapped_by:
            return 0, 0
        at = 5 * (number - mapped_by - 1)
        if self._map_page[0] != mapped_by:
            self._map_page = mapped_by, self._sound_map(mapped_by)
        entry = self._map_page[1][at : at + 5]
        return (entry[0], int.from_bytes(entry[1:], "big")) if entry else (0, 0)

    def children(self, number: int) -> Iterator[int]:
        """The pages below an inner page."""
        page = self.page(number)
        at = 100 if number == 1 else 0
        if page[at] not in INNER_PAGES:
            return
        for start in _cell_starts(page, at, self.usable):
            yield int.from_bytes(page[start : start + 4], "big")
        yield int.from_bytes(page[at + 8 : at + 12], "big")

    def cells(self, number: int) -> Iterator[Cell | None]:
        """The rows of a tree page; None for one that cannot be read. An inner table page holds none."""
        page = self.page(number)
        at = 100 if number == 1 else 0
        kind = self.kind(number, page)
        if kind in (0, TABLE_INNER):
            return
        for start in _cell_starts(page, at, self.usable):
            try:
                yield self._cell(page, start, kind)
            except (Damaged, IndexError, UnicodeDecodeError, OverflowError):
                yield None

    def cell_count(self, number: int) -> int:
        """How many cells a page says it has."""
        page = self.page(number)
        at = 100 if number == 1 else 0
        return int.from_bytes(page[at + 3 : at + 5], "big") if page[at] in TREE_PAGES else 0

    # -- cells ---------------------------------------------------------------------------------

    def _cell(self, page: bytes, at: int, kind: int) -> Cell:
        if kind == INDEX_INNER:
            at += 4
        length, at = varint(page, at)
        rowid = None
        if kind == TABLE_LEAF:
            rowid, at = varint(page, at)
            rowid -= (rowid >> 63) << 64
        if length > 1 << 30:
            raise Damaged("a row of more than a gigabyte")
        local = self._local(length, table=kind == TABLE_LEAF)
        payload = page[at : at + local]
        if local < length:
            first = int.from_bytes(page[at + local : at + local + 4], "big")
            payload += self._overflow(first, length - local)
        return Cell(rowid, record(payload, length))

    def _local(self, length: int, *, table: bool) -> int:
        """How many bytes of a payload lie in the page itself."""
        usable = self.usable
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        if length <= most:
            return length
        least = (usable - 12) * 32 // 255 - 23
        fit = least + (length - least) % (usable - 4)
        return fit if fit <= most else least

    def _overflow(self, number: int, left: int) -> bytes:
        parts: list[bytes] = []
        while left > 0:
            page = self.page(number)
            if not 1 < number <= self.count or not any(page):
                raise Damaged("the rest of the row is gone")
            part = page[4 : 4 + min(left, self.usable - 4)]
            parts.append(part)
            left -= len(part)
            number = int.from_bytes(page[:4], "big")
        return b"".join(parts)

    def _sound_map(self, number: int) -> bytes:
        """A page of the pointer map; nothing when one of its entries cannot be: noise looks right here and there."""
        entries = self.page(number)[: 5 * min(self._entries, max(self.count - number, 0))]
        for at in range(0, len(entries), 5):
            if not ROOT <= entries[at] <= CHILD:
                return b""
            if self.has_header and int.from_bytes(entries[at + 1 : at + 5], "big") > self.count:
                return b""
        return entries

    # -- files ---------------------------------------------------------------------------------

    def _read(self, handle: int, at: int, size: int) -> bytes:
        if handle < 0:
            return b""
        try:
            found = os.pread(handle, size, at)
        except OSError:  # a bad sector: the rest of the file may still be read
            found = b""
        return found.ljust(size, b"\0")

    def _lay_over(self) -> None:
        """Take the frames up to the last commit whose chain of checksums holds."""
        head = self._read(self._wal, 0, _WAL_HEADER)
        magic, _, size = struct.unpack(">III", head[:12])
        if magic not in (_WAL_LITTLE, _WAL_BIG) or size != self.size:
            return
        order = "<" if magic == _WAL_LITTLE else ">"
        seal = _checksum(head[:24], (0, 0), order)
        if seal != struct.unpack(">II", head[24:32]):
            return
        taken: dict[int, int] = {}
        end = os.fstat(self._wal).st_size
        at = _WAL_HEADER
        while at + _FRAME_HEADER + size <= end:
            frame = self._read(self._wal, at, _FRAME_HEADER + size)
            number, pages_after = struct.unpack(">II", frame[:8])
            seal = _checksum(frame[:8] + frame[_FRAME_HEADER:], seal, order)
            if frame[8:16] != head[16:24] or seal != struct.unpack(">II", frame[16:24]):
                return
            taken[number] = at + _FRAME_HEADER
            if pages_after:
                self._frames.update(taken)
                taken.clear()
                self.count = pages_after
            at += _FRAME_HEADER + size


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer, and where the next thing begins. Raises IndexError at the end."""
    value = 0
    for step in range(8):
        byte = data[at + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    return value << 8 | data[at + 8], at + 9


def record(payload: bytes, length: int) -> list[Value]:
    """The values of a record. Raises Damaged, IndexError or UnicodeDecodeError when it is none."""
    if len(payload) != length:
        raise Damaged("cut short")
    end, at = varint(payload, 0)
    if end > length:
        raise Damaged("a header longer than the record")
    kinds = []
    while at < end:
        kind, at = varint(payload, at)
        kinds.append(kind)
    if at != end:
        raise Damaged("a header that does not end where it says")
    values: list[Value] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != length:
        raise Damaged("a record that does not end where it says")
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind in (10, 11):
        raise Damaged("a type that is not in use")
    size = _INTEGER_BYTES.get(kind) or (8 if kind == 7 else (kind - 12) // 2)
    raw = payload[at : at + size]
    if len(raw) != size:
        raise Damaged("a value beyond the record")
    if kind == 7:
        return float(struct.unpack(">d", raw)[0]), at + size
    if kind < 7:
        return int.from_bytes(raw, "big", signed=True), at + size
    return (raw.decode("utf-8") if kind % 2 else raw), at + size


def _cell_starts(page: bytes, at: int, usable: int) -> Sequence[int]:
    """Where the cells of a tree page begin; those outside of the page left out."""
    first = at + (12 if page[at] in INNER_PAGES else 8)
    count = int.from_bytes(page[at + 3 : at + 5], "big")
    if first + 2 * count > usable:
        return ()
    starts = struct.unpack_from(f">{count}H", page, first)
    return [start for start in starts if first + 2 * count <= start < usable]


def _page_size(head: bytes, wal_head: bytes) -> int:
    """From the file's header, else the log's, else what our files have."""
    found = int.from_bytes(head[16:18], "big") if head.startswith(MAGIC) else 0
    found = 65_536 if found == 1 else found
    if not _is_size(found) and len(wal_head) >= 12:
        magic, _, found = struct.unpack(">III", wal_head[:12])
        found = found if magic in (_WAL_LITTLE, _WAL_BIG) else 0
    return found if _is_size(found) else DEFAULT_PAGE_SIZE


def _is_size(value: int) -> bool:
    return 512 <= value <= 65_536 and value & (value - 1) == 0


def _checksum(data: bytes, seed: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = seed
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for index in range(0, len(words), 2):
        one = (one + words[index] + two) & 0xFFFFFFFF
        two = (two + words[index + 1] + one) & 0xFFFFFFFF
    return one, two
