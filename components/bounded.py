"""Means of scores that lie between two bounds, with an interval that holds its level with few items and near the bounds. Pure.

The interval is Gaffke's (2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
variable"): the scores and, besides, one score at the upper bound get random weights that sum to 1, all such weights being equally
likely (Rubin's Bayesian bootstrap, 1981); the upper end is the quantile of their weighted mean, the lower end that with one score
at the lower bound. For scores of 0 and 1 that is Clopper and Pearson's exact interval (1934); for equal scores it is exact for any
distribution between the bounds; for others the level is a conjecture which no distribution has broken yet (Learned-Miller and
Thomas 2019, arXiv 1905.06208). Nothing is drawn: the distribution of the weighted mean is that of a sum of gamma variables, found
by integrating its moment generating function through the saddle point (Daniels 1954).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from components.artifacts import Estimate
from components.errors import LapidarError

Bounds = tuple[float, float]
UNIT: Bounds = (0.0, 1.0)
_NODES = 256
_FROM_POLE = 0.5


class Mean:
    """The mean of a list of scores.

    >>> found = Mean([0.5, 0.5, 0.5, 1.0, 0.5]).interval()
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (0.275, 0.6, 0.858)

    Args:
        values: scores, at least one, all finite.
        bounds: least and largest possible score.

    Raises:
        LapidarError: if a score lies outside the bounds.
    """

    def __init__(self, values: Sequence[float], bounds: Bounds = UNIT) -> None:
        import numpy as np

        low, high = bounds
        slack = 1e-9 * (high - low)  # what rounding makes of differences
        if outside := next((value for value in values if not low - slack <= value <= high + slack), None):
            raise LapidarError(f"a score of {outside} lies outside {low:g} to {high:g}, so how far scores could spread isn't known")
        self._values, self._counts = np.unique(np.clip(np.asarray(values, dtype=float), low, high), return_counts=True)
        self._n, self._bounds = len(values), bounds
        self.value = min(max(float(np.mean(values)), low), high)

    def interval(self, confidence: float = 0.95) -> Estimate:
        """The mean with its interval."""
        from scipy.optimize import brentq

        alpha, (low, high) = (1 - confidence) / 2, self._bounds
        ends = [low, high]
        if self.value > low and self._below(self.value) > alpha:
            ends[0] = brentq(lambda null: self._below(null) - alpha, low, self.value, xtol=1e-7 * (high - low))
        if self.value < high and self._above(self.value) > alpha:
            ends[1] = brentq(lambda null: self._above(null) - alpha, self.value, high, xtol=1e-7 * (high - low))
        return Estimate(self.value, min(ends[0], self.value), max(ends[1], self.value), self._n)

    def p_value(self, null: float) -> float:
        """Two-sided p-value of a true mean of ``null``: the level at which the interval just excludes it."""
        if not self._bounds[0] <= null <= self._bounds[1]:
            return 0.0
        return min(1.0, 2 * (self._below(null) if null < self.value else self._above(null)))

    def _below(self, null: float) -> float:
        """Chance that the weighted mean with one score at the lower bound lies below ``null``."""
        return self._tail(self._bounds[0], null)

    def _above(self, null: float) -> float:
        """Chance that the weighted mean with one score at the upper bound lies above ``null``: the mirror image."""
        return self._tail(self._bounds[1], null, -1)

    def _tail(self, end: float, null: float, sign: int = 1) -> float:
        import numpy as np

        return _negative(sign * (np.append(self._values, end) - null), np.append(self._counts, 1))


def _negative(scales: Any, shapes: Any) -> float:
    """Chance that ``Σ scale · G`` is below 0, for independent gamma variables ``G`` of these shapes."""
    import numpy as np
    from scipy.optimize import brentq

    least, most = float(scales.min()), float(scales.max())
    if least >= 0 or most <= 0:
        return float(least < 0)
    ends = (1 / least, 1 / most)
    near = 1 - 1e-12
    saddle = brentq(lambda s: float((shapes * scales / (1 - s * scales)).sum()), ends[0] * near, ends[1] * near, xtol=1e-300)
    spread = math.sqrt(float((shapes * (scales / (1 - saddle * scales)) ** 2).sum()))
    if abs(saddle) * spread < _FROM_POLE:  # the integrand has a pole at 0
        saddle = min(max(math.copysign(_FROM_POLE / spread, saddle), ends[0] / 2), ends[1] / 2)
    places, weights = _nodes()
    y = places / spread
    turned = np.outer(y, scales / (1 - saddle * scales))
    size = np.exp(-np.log1p(-saddle * scales) @ shapes - np.log1p(turned**2) @ shapes / 2)
    found = float((size * np.exp(1j * (np.arctan(turned) @ shapes)) / (saddle + 1j * y)).real @ weights) / spread / math.pi
    return min(1.0, max(0.0, 1 - found if saddle > 0 else -found))


@cache
def _nodes() -> Any:
    """Places on the half line and their weights: Gauss and Legendre's rule, moved there from 0 to 1."""
    import numpy as np

    places, weights = np.polynomial.legendre.leggauss(_NODES)
    places = (places + 1) / 2
    return places / (1 - places), weights / 2 / (1 - places) ** 2
