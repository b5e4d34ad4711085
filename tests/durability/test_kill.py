"""Whatever is killed when: every acknowledged or spooled event becomes rows exactly once.

`CLAUDE_MEM_TEST_ROUNDS` and `CLAUDE_MEM_TEST_SEED` repeat a run or make it longer; `make prove` runs 200 rounds.
"""

from __future__ import annotations

import os
import secrets

import pytest
from bench.kill import run

pytestmark = pytest.mark.slow

# Read when the module is loaded: the tests' own fixture clears such variables.
ROUNDS = int(os.environ.get("CLAUDE_MEM_TEST_ROUNDS", "20"))
SEED = int(os.environ.get("CLAUDE_MEM_TEST_SEED") or secrets.randbelow(1 << 31))


def test_kills_at_random_moments_lose_and_double_nothing() -> None:
    print(f"seed {SEED}, {ROUNDS} rounds")
    victims: list[str] = []
    outcome = run(ROUNDS, SEED, lambda _number, victim, _seconds: victims.append(victim))
    assert outcome.rounds == ROUNDS
    assert outcome.acknowledged > ROUNDS, outcome.as_json()
    assert outcome.hooks > ROUNDS
    assert not outcome.problems, f"seed {SEED}, {victims}: {outcome.problems}"
