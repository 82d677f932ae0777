"""Krippendorff's alpha for nominal data: agreement of any number of raters, not all of whom rated everything.

Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: over the matrix of coincidences, in which a unit
with m ratings adds 1/(m - 1) for every ordered pair of them, alpha = 1 - D_observed / D_expected.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from components.artifacts import Estimate
from components.errors import LapidarError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

RESAMPLES = 2000


def alpha(units: Sequence[Sequence[Hashable]], seed: int = 0) -> Estimate:
    """Alpha with a bootstrap interval over units; ``n`` is the number of units with two ratings or more.

    Raters that all say the same of everything have 0: without any variation nothing is shown beyond chance.

    Args:
        units: the ratings of each unit, by whomever; units with fewer than two count for nothing.

    >>> round(alpha(["ab", "aa", "bb", "bb"]).value, 3)
    0.533

    Raises:
        LapidarError: if no unit has two ratings.
    """
    import numpy as np

    rated = [list(unit) for unit in units if len(unit) > 1]
    if not rated:
        raise LapidarError("agreement needs prompts that two reviewers or more have voted on; there is none yet")
    names = {name: place for place, name in enumerate(dict.fromkeys(value for unit in rated for value in unit))}
    counts = np.zeros((len(rated), len(names)))
    for place, unit in enumerate(rated):
        for value in unit:
            counts[place, names[value]] += 1
    ratings = counts.sum(1)
    disagreed = (ratings**2 - (counts**2).sum(1)) / (ratings - 1)
    value = float(_alpha(disagreed.sum(), counts.sum(0)))
    n = len(rated)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    values = _alpha(draws @ disagreed, draws @ counts)
    low, high = (float(np.quantile(values, q)) for q in (0.025, 0.975))
    return Estimate(value, min(low, value), max(high, value), n)


def _alpha(disagreed: Any, totals: Any) -> Any:
    """Alpha from the observed disagreement (shape [...]) and how often each value was given (shape [..., values])."""
    import numpy as np

    n = totals.sum(-1)
    chance = n**2 - (totals**2).sum(-1)
    return np.where(chance > 0, 1 - (n - 1) * disagreed / np.where(chance > 0, chance, 1), 0.0)
