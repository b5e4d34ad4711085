"""A data folder with real processes, and the certainty that nothing of it outlives its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.durability import Site


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    """Makes sites; all their processes are ended and their folders removed after the test."""
    made: list[Site] = []

    def make(parent: Path | None = None, **settings: object) -> Site:
        made.append(Site(parent, **settings))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
