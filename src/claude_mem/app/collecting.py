"""How often Python looks for what only refers to itself, in a process that serves.

A search makes thousands of short-lived rows and tuples. With the thresholds Python begins with it was looked for cycles
among them several times a search, a tenth of its processor time, and now and then everything that is loaded was gone
through: 60 ms for which nobody is answered.
"""

from __future__ import annotations

import gc
from typing import Final

# Some megabytes of rows at most, before they are looked through.
THRESHOLDS: Final = (20_000, 20, 20)


def settle() -> None:
    """What is loaded by now stays and is never looked through again; what comes, seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
