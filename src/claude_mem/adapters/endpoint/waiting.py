"""How long to wait before an endpoint is asked again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_WAIT_S: Final = 30.0  # longer ones are left to whoever asked
LONGEST_REST_S: Final = 3_600.0  # nobody is believed who asks for more: it may be mended sooner
_FIRST_S: Final = 0.5
_MOST_S: Final = 8.0


def backoff(attempt: int, chance: float) -> float:
    """Seconds after attempt 1, 2, …: doubling, half of it by chance (0 to 1), so that many do not come at once."""
    longest: float = min(_FIRST_S * 2 ** (attempt - 1), _MOST_S)
    return longest / 2 * (1 + chance)


def wanted_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds an answer asks to wait, an hour at most: `retry-after-ms`, or `Retry-After` as seconds or a date.

    None: it does not.
    """
    for name, by in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / by
            if not math.isnan(seconds):
                return min(max(0.0, seconds), LONGEST_REST_S)
        except (KeyError, ValueError):  # not there, or a date
            continue
    try:
        at = parsedate_to_datetime(headers["retry-after"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at - time.time()), LONGEST_REST_S)
