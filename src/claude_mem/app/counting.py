"""How many rows an enterprise has, for health: counting a large table takes a while, so answers are kept."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from claude_mem.domains.memory import service as memory
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database

_SHARE: Final = 50  # slow counting may take a fiftieth of the time
_SLOW_S: Final = 0.05
_REMEMBERED: Final = 1_000  # enterprises

_Kept = tuple[float, dict[str, int], float]  # until when, rows by table, milliseconds it took


class Counted:
    """Row counts; an answer is kept fifty times as long as it took."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def __call__(self, scope: Scope, *, fresh: bool) -> tuple[dict[str, int], float]:
        """(rows by table, milliseconds it took); `fresh` counts anew whatever that takes."""
        started = time.perf_counter()
        kept = self._kept.get(scope.enterprise_id)
        if fresh or kept is None or started >= kept[0]:
            counts = await self._database.read(scope, lambda tx: memory.counts(scope, tx))
            took = time.perf_counter() - started
            keep = took * _SHARE if took > _SLOW_S else 0.0
            kept = self._kept[scope.enterprise_id] = (started + keep, counts, took * 1000)
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)
        return kept[1], kept[2]
