"""Places in listings: taken back where they were given out, and nowhere else."""

from __future__ import annotations

import base64
import json

import pytest

from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.places import Places, stretched

PLACES = Places(b"one")
LISTING = ("tenant", "/sessions", "project=x")
PLACE = (1_790_000_000_000, "id")


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_place_comes_back_in_its_listing_also_in_another_process() -> None:
    sealed = PLACES.seal(PLACE, LISTING)
    assert Places(b"one").open(sealed, LISTING) == list(PLACE)
    assert len(sealed) < 400


@pytest.mark.parametrize(
    "listing",
    [
        ("other", "/sessions", "project=x"),
        ("tenant", "/learnings", "project=x"),
        ("tenant", "/sessions", "project=y"),
        ("tenant", "/sessions"),
        ("tenant", "/sessionsproject=x"),
    ],
)
def test_of_another_tenant_or_listing_it_is_none(listing: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="not a cursor of this listing"):
        PLACES.open(PLACES.seal(PLACE, LISTING), listing)


def test_a_changed_forged_or_old_one_is_none() -> None:
    sealed = PLACES.seal(PLACE, LISTING)
    [seal, *_] = json.loads(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    for forged in (
        packed([seal, PLACE[0] + 1, "id"]),
        packed([seal, PLACE[0], "other"]),
        packed([seal]),
        packed([f" {seal}", *PLACE]),
        packed([None, *PLACE]),
        packed(["", *PLACE]),
        packed(["\ud800", *PLACE]),
        packed(PLACE),  # as they were before
        packed({"a": 1}),
        packed([]),
        packed("text"),
        packed(5),
        base64.urlsafe_b64encode(b"[" * 200_000).decode(),
        Places(b"another key").seal(PLACE, LISTING),
        sealed[:-4],
        "",
        "nonsense",
        "\N{SNOWMAN}",
    ):
        with pytest.raises(Invalid, match="leave it out to start at the beginning"):
            PLACES.open(forged, LISTING)


def test_a_key_from_a_secret_is_the_same_every_time() -> None:
    assert stretched("secret") == stretched("secret") != stretched("Secret")
