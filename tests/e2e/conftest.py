"""Data folders with real processes, ended and removed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from bench.durability import Site


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    """Makes sites with a running worker."""
    made: list[Site] = []

    def make() -> Site:
        made.append(Site())
        made[-1].start()
        return made[-1]

    yield make
    for site in made:
        site.close()
