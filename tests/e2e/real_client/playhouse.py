"""Opening a stage for a module of tests, or saying loudly why there is none."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from real_client import scripts
from real_client.fetch import PACKAGE, VERSION, NotToBeHadError, client_program
from real_client.island import Island, IslandError
from real_client.stage import Stage

SKIP = "CLAUDE_MEM_SKIP_REAL_CLIENT"
# A warning is the loudest that a skipped test can be: it must not be an error.
MARKS = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default:the real client:pytest.PytestWarning"),
]


@contextmanager
def open_stage(
    folder: Path,
    environment: Mapping[str, str],
    settings: bytes | None = None,
    *,
    install: bool = True,
) -> Iterator[Stage]:
    """The client on its island; everything there ends with the block. Our hooks lie beside `settings`
    unless `install` is false.

    `environment` is the person's own, before a test's private home took its place: their cache, their npm.
    """
    if environment.get(SKIP) == "1":
        _skip(f"{SKIP}=1")
    try:
        program = client_program(environment)
        island = Island()
    except (NotToBeHadError, IslandError) as error:
        if environment.get("CI") == "true":
            pytest.fail(f"the real client must be tested here: {error} ({SKIP}=1 leaves it out)")
        _skip(str(error))
    try:
        made = Stage(folder, island, program)
        made.start_model(scripts.all_scripts(made.project))
        if settings is not None:
            made.settings.write_bytes(settings)
        if install:
            made.ours("install", "--yes", "--no-start")
        yield made
    finally:
        island.close()


def own_environment() -> dict[str, str]:
    """To be taken while a module is imported: later the home is a test's own."""
    return dict(os.environ)


def _skip(why: str) -> None:
    warnings.warn(
        pytest.PytestWarning(f"the real client ({PACKAGE}@{VERSION}) was NOT tested: {why}"),
        stacklevel=2,
    )
    pytest.skip(why)
