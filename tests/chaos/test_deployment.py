"""Whatever of a deployment is killed or stands still: nothing that was acknowledged is lost or doubled.

The short form of `python -m bench.chaos`. `CLAUDE_MEM_TEST_SEED` repeats a run.
"""

from __future__ import annotations

import os
import secrets

import pytest
from bench.chaos import run

pytestmark = pytest.mark.slow

# Read when the module is loaded: the tests' own fixture clears such variables.
SEED = int(os.environ.get("CLAUDE_MEM_TEST_SEED") or secrets.randbelow(1 << 31))


def test_faults_of_every_part_lose_and_double_nothing() -> None:
    told: list[str] = []
    outcome = run(SEED, told.append, quick=True)
    assert len(outcome["faults"]) == 9, told
    assert outcome["acknowledged"] > 100, outcome
    assert outcome["lost"] == outcome["doubled"] == 0
    assert not outcome["problems"], f"seed {SEED}: {outcome['problems']}"
