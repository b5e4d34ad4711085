"""A memory of the latest identifiers, of bounded size."""

from __future__ import annotations


class Recent:
    """Remembers at least the last `most` identifiers, and at most twice as many."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._young: set[int] = set()
        self._old: set[int] = set()

    def seen(self, identifier: str) -> bool:
        """Whether it was given before; from now on it was."""
        number = hash(identifier)  # 64 bits: a clash within a file is not to be expected
        if number in self._young or number in self._old:
            return True
        self._young.add(number)
        if len(self._young) >= self._most:
            self._old, self._young = self._young, set()
        return False
