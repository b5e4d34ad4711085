"""Back-off, budget, version order: arithmetic, so no process and no time passes here."""

import pytest

from claude_mem.worker.backoff import RestartPolicy
from claude_mem.worker.versions import is_older


def test_delays_double_up_to_the_ceiling() -> None:
    policy = RestartPolicy()
    delays = [policy.after_exit(float(n), 0.1) for n in range(10)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_a_healthy_run_starts_the_doubling_anew() -> None:
    policy = RestartPolicy()
    assert [policy.after_exit(n, 1.0) for n in (1.0, 2.0, 3.0)] == [0.2, 0.4, 0.8]
    assert policy.after_exit(100.0, 59.9) == 1.6
    assert policy.after_exit(200.0, 60.0) == 0.2
    assert policy.after_exit(201.0, 1.0) == 0.4


def test_more_than_twenty_exits_in_ten_minutes_are_too_many() -> None:
    policy = RestartPolicy()
    assert all(policy.after_exit(float(n), 1.0) is not None for n in range(20))
    assert policy.after_exit(20.0, 1.0) is None
    assert policy.recent_exits == 21


def test_exits_older_than_the_window_are_forgotten() -> None:
    policy = RestartPolicy(limit=3, window=100.0)
    delays = [policy.after_exit(float(n * 40), 1.0) for n in range(20)]
    assert None not in delays


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("0.1.0", "0.2.0"),
        ("0.9", "0.10"),
        ("0.9.9", "0.10rc1"),
        ("0.10.dev3", "0.10a1"),
        ("0.10a2", "0.10b1"),
        ("0.10rc1", "0.10rc2"),
        ("0.10rc2", "0.10.0"),
        ("0.10", "0.10.post1"),
        ("v1.2", "1.3"),
    ],
)
def test_order_of_versions(older: str, newer: str) -> None:
    assert is_older(older, newer)
    assert not is_older(newer, older)


@pytest.mark.parametrize(
    ("left", "right"), [("1.0", "1.0.0"), ("1.0+local", "1.0"), ("", "1.0"), ("junk", "2")]
)
def test_equal_or_unknown_versions_replace_nobody(left: str, right: str) -> None:
    assert not is_older(left, right)
    assert not is_older(right, left)
