"""Cells of vectors: centres, what is nearest to which, and parting."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from claude_mem.adapters.postgres import cells


def _sent(numbers: list[float]) -> bytes:
    """As `array_send` writes a `real[]`."""
    head = struct.pack(">iiIii", 1, 0, 700, len(numbers), 1)
    return head + b"".join(struct.pack(">if", 4, number) for number in numbers)


def _around(centre: list[float], count: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(centre, 0.05, (count, len(centre)))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f4")


def test_what_postgresql_sends_is_read() -> None:
    read = cells.matrix([_sent([1.0, -2.5, 0.0]), _sent([3e-8, 0.5, 1e9])], 3)
    assert read.tolist() == np.float32([[1, -2.5, 0], [3e-8, 0.5, 1e9]]).tolist()
    assert cells.matrix([], 3).shape == (0, 3)


def test_each_is_with_the_nearest_centre() -> None:
    vectors = np.concatenate([_around([1, 0, 0], 5_000, 1), _around([0, 1, 0], 10, 2)])
    places = cells.nearest(vectors, np.float32([[0, 1, 0], [1, 0, 0]]))
    assert places.tolist() == [1] * 5_000 + [0] * 10
    assert cells.nearest(vectors[:0], vectors).tolist() == []


def test_centres_lie_where_vectors_gather() -> None:
    spots = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    vectors = np.concatenate([_around(spot, 200, n) for n, spot in enumerate(spots)])
    centres = cells.gathered(vectors, 12)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    assert {int((centre @ np.float32(spots).T).argmax()) for centre in centres} == {0, 1, 2}
    assert (cells.gathered(vectors, 12) == centres).all(), "the same each time"
    assert len(cells.gathered(vectors[:5], 12)) == 5


def test_parts_are_those_that_lie_apart() -> None:
    vectors = np.concatenate([_around([1, 0, 0], 150, 1), _around([-1, 0.1, 0], 100, 2)])
    centres, places = cells.parted(vectors, 2)
    assert len(set(places[:150].tolist())) == len(set(places[150:].tolist())) == 1
    assert places[0] != places[-1]
    assert (centres[places] * vectors).sum(1).min() > 0.9


@pytest.mark.parametrize("count", [2, 5])
def test_what_does_not_fall_apart_is_cut_in_equal_parts(count: int) -> None:
    vectors = np.repeat(_around([1, 0, 0], 1, 1), 301, axis=0)
    centres, places = cells.parted(vectors, count)
    sizes = np.bincount(places)
    assert len(sizes) == len(centres) == count
    assert sizes.max() - sizes.min() <= 1
