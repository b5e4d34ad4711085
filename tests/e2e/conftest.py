"""Data folders with real processes, ended and removed after each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The harness is shared with `make prove`; pytest alone would not find it from another folder.
sys.path.insert(0, str(Path(__file__).parents[2]))

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
