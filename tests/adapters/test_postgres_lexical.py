"""The newest documents of a word on PostgreSQL, however they lie in their segments."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.lexical import _FIND, SEGMENT, PostgresLexicalIndex, _numbers
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.lexical import LexicalDocument
from servers import Urls

OURS = local_scope()
SEGMENTS = 300


def _spread() -> dict[str, list[int]]:
    """Numbers by word: everywhere, only in the oldest or the newest segments, thinning out, or in heaps with gaps."""
    noise = random.Random(4)
    made = {
        "even": [segment * SEGMENT + 5 for segment in range(SEGMENTS)],
        "old": [7 + n for n in range(40)],
        "new": [(SEGMENTS - 1) * SEGMENT + 9 + n for n in range(40)],
        "ends": [11, (SEGMENTS - 1) * SEGMENT + 101],
        "thinning": [int(SEGMENTS * SEGMENT * (1 - noise.random() ** 3)) for _ in range(200)],
        "heaps": [
            segment * SEGMENT + 200 + n for segment in (3, 90, 91, 210, 298) for n in range(15)
        ],
    }
    return {word: sorted({number or 1 for number in numbers}) for word, numbers in made.items()}


@pytest.mark.parametrize("most", [1, 14, 41, 1_000])
def test_the_newest_are_found_wherever_they_lie(postgres_urls: Urls, most: int) -> None:
    spread = _spread()
    words: dict[int, list[str]] = {}
    for word, numbers in spread.items():
        for number in numbers:
            words.setdefault(number, []).append(word)
    engine = sa.create_engine(postgres_urls.runtime)
    with engine.begin() as tx:
        tx.exec_driver_sql(
            "SELECT set_config('app.current_enterprise_id', %s, true)", (OURS.enterprise_id,)
        )
        documents = [
            LexicalDocument(number, "", " ".join(found), "k.prompt")
            for number, found in words.items()
        ]
        PostgresLexicalIndex().add(OURS, tx, documents)
        for word, numbers in spread.items():
            for floor in (0, numbers[len(numbers) // 2]):
                packed = tx.exec_driver_sql(_FIND, ([word], [], [], [], floor, most)).scalar_one()
                expected = [number for number in reversed(numbers) if number > floor][:most]
                assert _numbers(packed) == expected, (word, floor)
    engine.dispose()
