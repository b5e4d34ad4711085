"""Long names keep within what every engine's index takes, and stay different."""

from __future__ import annotations

import pytest

from claude_mem.domains.capture.fitting import LONGEST, fitted


@pytest.mark.parametrize("name", ["", "/app", "账本", "x" * LONGEST])
def test_what_fits_is_left_alone(name: str) -> None:
    assert fitted(name) == name


@pytest.mark.parametrize("name", ["x" * 4096, "账" * 2000, "/a/" * 900, "\ud800" * 900])
def test_what_is_longer_fits_and_says_how_it_begins(name: str) -> None:
    short = fitted(name)
    assert len(short.encode("utf-8", "surrogatepass")) <= LONGEST
    assert fitted(short) == short
    assert fitted(name + "y") != short
    assert name.startswith(short.partition("…")[0])
