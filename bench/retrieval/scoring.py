"""What a ranking is worth. Pure; rankings are ids, the best first, each once.

Of a question with relevant ids R and a ranking cut at k:  *any* is 1 if one of R is in it, *all* if all of R are,
*fraction* their share. MRR is 1/rank of the first. NDCG@10 has binary gains and log2 discounts (K. Järvelin and
J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002). Intervals are percentile
bootstraps over questions (B. Efron, "Bootstrap Methods", Annals of Statistics 7(1), 1979).
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Sequence
from statistics import fmean

KS = (1, 5, 10)
_RESAMPLES = 1_000
_TAIL = 0.025


def measures(ranking: Sequence[str], relevant: Collection[str]) -> dict[str, float]:
    """All of one question. `relevant` must not be empty."""
    if len(set(ranking)) != len(ranking):
        raise ValueError("an id is ranked twice")
    places = [place for place, found in enumerate(ranking, 1) if found in relevant]
    result = {"mrr": 1 / places[0] if places else 0.0, "ndcg@10": _ndcg(places, len(relevant), 10)}
    for k in KS:
        hits = sum(place <= k for place in places)
        result[f"any@{k}"] = float(hits > 0)
        result[f"all@{k}"] = float(hits == len(relevant))
        result[f"fraction@{k}"] = hits / len(relevant)
    return result


def at_random(pool: int, relevant: int) -> dict[str, float]:
    """What a ranking in random order is worth on average, for any and fraction."""
    result = {}
    for k in KS:
        none = math.comb(max(pool - relevant, 0), k) / math.comb(pool, k) if k <= pool else 0.0
        result[f"any@{k}"] = 1 - none
        result[f"fraction@{k}"] = min(k / pool, 1.0)
    return result


def mean(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure."""
    listed = list(rows)
    return {name: fmean(row[name] for row in listed) for name in listed[0]} if listed else {}


def interval(values: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """95 % of the means of as many questions drawn again with replacement."""
    if not values:
        return (0.0, 0.0)
    chance = random.Random(seed)
    means = sorted(fmean(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    cut = int(_RESAMPLES * _TAIL)
    return means[cut], means[-cut - 1]


def grouped(ranking: Iterable[str], group_of: dict[str, str]) -> list[str]:
    """The groups of a ranking's ids, each where its first one is."""
    return list(dict.fromkeys(group_of[found] for found in ranking if found in group_of))


def _ndcg(places: Sequence[int], relevant: int, k: int) -> float:
    gained = sum(1 / math.log2(1 + place) for place in places if place <= k)
    best = sum(1 / math.log2(1 + place) for place in range(1, min(relevant, k) + 1))
    return gained / best
