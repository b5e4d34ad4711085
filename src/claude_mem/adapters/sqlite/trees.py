"""Which page of a damaged SQLite file belongs to which table.

The pointer map names every page's parent, so a leaf is found although the inner page above it is gone; where the map
itself is gone, the inner pages that are left name their children. What the map calls free is left alone: it may hold
what was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from claude_mem.adapters.sqlite.pages import CHILD, FREE, INNER_PAGES, ROOT, Pages

_MASTER = 1
_DEPTH = 40


class SchemaItem(NamedTuple):
    """A row of the file's own schema."""

    kind: str  # table, index, view or trigger
    name: str
    table: str
    root: int
    sql: str | None


class Trees:
    """The tree pages of a file by the root they hang on."""

    def __init__(self, pages: Pages, step: Callable[[], None]) -> None:
        self._pages = pages
        self._parents: dict[int, int] = {}
        self._roots: set[int] = {_MASTER}
        self._unmapped: set[int] = set()
        self.broken: set[int] = set()  # said to be of a tree, and not readable as that
        inner: list[int] = []
        for number in range(1, pages.count + 1):
            step()
            self._place(number, inner)
        self._adopt(inner)
        self._by_root: dict[int, list[int]] | None = None

    def schema(self) -> list[SchemaItem]:
        """What the file says it holds, as far as it can be read."""
        found = []
        for number in self.of(_MASTER):
            for cell in self._pages.cells(number):
                item = _schema_item(cell.values) if cell is not None else None
                if item is not None:
                    found.append(item)
        return found

    def add_roots(self, roots: Iterable[int]) -> None:
        """Roots known from the schema, for where the pointer map does not name them."""
        self._roots.update(root for root in roots if root in self._unmapped)
        self._by_root = None

    def of(self, root: int) -> list[int]:
        """Every page of the tree, in the order of the file, broken ones included."""
        if self._by_root is None:
            self._by_root = {}
            for number in [_MASTER, *self._parents, *(self._roots - {_MASTER})]:
                owner = self._root_of(number)
                if owner:
                    self._by_root.setdefault(owner, []).append(number)
        return sorted(set(self._by_root.get(root, ())))

    def unclaimed(self) -> int:
        """Tree pages that are whole and hang on nothing any more: nobody can say whether they were freed."""
        pages = self._unmapped | set(self._parents)
        return sum(not self._root_of(number) for number in pages - self.broken)

    def faults(self) -> int:
        """How much of what the pointer map says is not so: little in a sound file, much where two files are mixed."""
        wrong = len(self.broken)
        for number, parent in self._parents.items():
            if number not in self.broken and self._kind(parent) not in INNER_PAGES:
                wrong += 1
        return wrong

    def _place(self, number: int, inner: list[int]) -> None:
        kind, parent = self._pages.pointer(number)
        is_tree = self._kind(number)
        if is_tree in INNER_PAGES and kind != FREE:
            inner.append(number)
        if kind == CHILD:
            self._parents[number] = parent
        elif kind == ROOT:
            self._roots.add(number)
        elif kind == 0 and is_tree:
            self._unmapped.add(number)
        if kind in (CHILD, ROOT) and not is_tree:
            self.broken.add(number)

    def _adopt(self, inner: Iterable[int]) -> None:
        for number in inner:
            for child in self._pages.children(number):
                if child in self._unmapped and child not in self._parents:
                    self._parents[child] = number

    def _root_of(self, number: int) -> int:
        for _ in range(_DEPTH):
            if number in self._roots:
                return number
            number = self._parents.get(number, 0)
            if not number:
                return 0
        return 0  # a chain that bites its tail

    def _kind(self, number: int) -> int:
        return self._pages.kind(number, self._pages.page(number))


def _schema_item(values: Sequence[object]) -> SchemaItem | None:
    if len(values) != 5 or values[0] not in ("table", "index", "view", "trigger"):
        return None
    kind, name, table, root, sql = values
    if not isinstance(name, str) or not isinstance(table, str) or not isinstance(root, int):
        return None
    return SchemaItem(str(kind), name, table, root, sql if isinstance(sql, str) else None)
