"""UUIDv7: shape, order, determinism."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from claude_mem.kernel.ids import deterministic_id, first_id, id_epoch_ms, is_id, is_uuid, new_id

MOMENTS = st.integers(min_value=0, max_value=(1 << 48) - 1)


@given(MOMENTS)
def test_an_id_is_a_uuid7_that_carries_its_time(moment: int) -> None:
    made = new_id(moment)
    parsed = uuid.UUID(made)
    assert is_id(made)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, made)
    assert id_epoch_ms(made) == moment


@given(MOMENTS, st.text())
def test_a_derived_id_is_always_the_same(moment: int, key: str) -> None:
    made = deterministic_id(moment, key)
    assert made == deterministic_id(moment, key)
    assert is_id(made)
    assert id_epoch_ms(made) == moment
    assert made != deterministic_id(moment, key + "x")


def test_ids_order_by_time() -> None:
    assert new_id(1) < new_id(2) < new_id(1_700_000_000_000)


def test_ids_made_one_after_another_sort_so_within_a_millisecond_too() -> None:
    """The clock is a machine's own and may be set back meanwhile: of many runs, one at least is undisturbed."""
    runs = ([new_id() for _ in range(200)] for _ in range(20))
    assert any(
        made == sorted(made) and id_epoch_ms(made[-1]) - id_epoch_ms(made[0]) < 50 for made in runs
    )


def test_10_000_ids_of_one_moment_differ() -> None:
    assert len({new_id(5) for _ in range(10_000)}) == 10_000


def test_what_is_no_id() -> None:
    assert not is_id("")
    assert not is_id(str(uuid.uuid4()))
    assert not is_id(new_id().upper())
    assert not is_id(new_id() + "\n")


def test_the_first_id_of_a_moment_lies_between_those_of_two() -> None:
    first = first_id(1_790_000_000_000)
    assert is_id(first)
    assert id_epoch_ms(first) == 1_790_000_000_000
    assert all(new_id(1_789_999_999_999) < first < new_id(1_790_000_000_000) for _ in range(100))


def test_a_uuid_has_one_spelling() -> None:
    sound = "00000000-0000-4000-8000-0000000000ab"
    assert is_uuid(sound)
    for text in ("", "*", sound.upper(), sound + "\n", sound[:-1], sound + ".x", f"{{{sound}}}"):
        assert not is_uuid(text)
