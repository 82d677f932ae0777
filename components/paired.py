"""Paired tests of two models on the same items: bootstrap and McNemar in one record, corrected over all compared at once.

Holm's correction (Holm 1979) is applied to intervals as well: of ``m`` comparisons the k-th surest (k = 0, 1, …) gets the
interval of level ``1 - 0.05 / (m - k)``; from the first whose interval holds the null value on, all get that one's level. So an
interval excludes the null value exactly where Holm rejects, and the chance of one false difference among all stays 5 %.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from components.artifacts import Estimate
from components.bounded import UNIT, Bounds, Mean
from components.errors import InputError
from components.statistics import (
    RESAMPLES,
    all_equal,
    check,
    detectable_difference,
    discordant,
    holm,
    is_binary,
    mcnemar,
)

ALPHA = 0.05
_FEW_VALUES = 64
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Paired:
    """How two models differ on the same items; all differences are first minus second.

    Attributes:
        difference: mean difference with the interval that decides: the adjusted Wald interval of Bonett and Price (2012), as if
            there were two more items, one won and one lost by the largest difference seen, and with Student's quantiles. For
            scores of 0 and 1 these are the normal distribution's, as there, and it holds zero besides wherever McNemar's exact
            test doesn't reject it; where all differences are equal, it is that of ``bounded.Mean``. At the level ``confidence``.
        bootstrap: the BCa bootstrap's interval (Efron 1987) at the same level, for comparison.
        wins, losses: items on which the first model scores higher, lower.
        mcnemar: exact p-value of McNemar's test; None for scores other than 0 and 1.
        p: two-sided p-value that belongs to ``difference``; for scores of 0 and 1 never below McNemar's.
        adjusted: the same after Holm's correction; below 0.05 exactly where the interval excludes the null value.
        confidence: level of both intervals, 0.95 or, corrected, more.
        family: how many comparisons were made at once.
        detectable: least true difference that these items show with a power of 0.8; None where they can show none.
    """

    difference: Estimate
    bootstrap: Estimate
    wins: int
    losses: int
    mcnemar: float | None
    p: float
    adjusted: float
    confidence: float
    family: int
    detectable: float | None


class Pairing:
    """Scores of two models on the same items, in the same order.

    Args:
        bounds: between which a single score can lie; by default 0 and 1, and what is seen beyond.

    Raises:
        InputError: if the lists differ in length.
        LapidarError: if there are no items, or a score isn't a finite number.
    """

    def __init__(self, a: Sequence[float], b: Sequence[float], seed: int = 0, bounds: Bounds | None = None) -> None:
        if len(a) != len(b):
            raise InputError(f"{len(a)} scores can't be paired with {len(b)}: evaluate both models on the same items")
        check(a)
        check(b)
        self._a, self._b, self._seed = list(a), list(b), seed
        self._differences = [x - y for x, y in zip(a, b, strict=True)]
        least, most = bounds or UNIT
        self._span = max(most, *a, *b) - min(least, *a, *b)
        self._binary = is_binary([*a, *b])
        self.wins, self.losses = discordant(a, b)

    def bootstrap(self, confidence: float = 1 - ALPHA) -> Estimate:
        """Mean difference with the BCa bootstrap's interval; where all differences are equal, with that of ``interval``."""
        return self._bootstrap.estimate(confidence) if self._equal is None else self._equal.interval(confidence)

    def interval(self, confidence: float = 1 - ALPHA) -> Estimate:
        """Mean difference with the interval that decides."""
        if self._equal is not None and not self._binary:
            return self._equal.interval(confidence)
        n, (centre, error) = len(self._a), self._wald
        half, value = -self._quantile((1 - confidence) / 2) * error, self._mean
        low, high = max(-self._span, min(value, centre - half)), min(self._span, max(value, centre + half))
        if self.mcnemar is not None and self.mcnemar >= 1 - confidence:  # both must agree that there is a difference
            low, high = min(low, 0.0), max(high, 0.0)
        return Estimate(value, low, high, n)

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p-value of a true difference of ``null``: the level at which ``interval`` just excludes it.

        For scores of 0 and 1 and a null value of zero that is the larger one of the interval's and McNemar's.
        """
        if self._equal is not None and not self._binary:
            return self._equal.p_value(null)
        centre, error = self._wald
        p = 2 * self._share_below(-abs(centre - null) / error)
        towards_zero = min(0.0, self._mean) <= null <= max(0.0, self._mean)
        return max(p, self.mcnemar) if self.mcnemar is not None and towards_zero else p

    @cached_property
    def mcnemar(self) -> float | None:
        """Exact p-value of McNemar's test; None for scores other than 0 and 1."""
        return mcnemar(self._a, self._b) if self._binary else None

    def detectable(self, confidence: float = 1 - ALPHA) -> float | None:
        """Least true difference that these items show with a power of 0.8, by how much the two models disagreed."""
        if self._binary:
            least = detectable_difference(len(self._a), max(1, self.wins + self.losses) / len(self._a), confidence=confidence)
            return least if math.isfinite(least) else None
        from scipy.stats import norm

        if self._equal is not None:
            return None
        z = float(norm.ppf((1 + confidence) / 2) + norm.ppf(0.8))
        return z * statistics.stdev(self._differences) / math.sqrt(len(self._a))

    @cached_property
    def _wald(self) -> tuple[float, float]:
        """Centre and standard error of the adjusted Wald interval (Bonett and Price 2012, eq. 3)."""
        n = len(self._a) + 2
        most = 1.0 if self._binary else max(map(abs, self._differences))
        centre = math.fsum(self._differences) / n
        spread = (math.fsum(d * d for d in self._differences) + 2 * most**2) / n - centre**2
        return centre, math.sqrt(spread / n)

    def _share_below(self, errors: float) -> float:
        """How often an estimate lies further below than so many standard errors, a negative number."""
        from scipy.special import ndtr, stdtr

        return float(ndtr(errors) if self._binary else stdtr(len(self._a) + 1, errors))

    def _quantile(self, share: float) -> float:
        """The inverse."""
        from scipy.special import ndtri, stdtrit

        return float(ndtri(share) if self._binary else stdtrit(len(self._a) + 1, share))

    @cached_property
    def _equal(self) -> Mean | None:
        """The differences where all are equal, which says nothing of their spread."""
        if not all_equal(self._differences):
            return None
        return Mean([self._mean] * len(self._a), (-self._span, self._span))

    @cached_property
    def _mean(self) -> float:
        return math.fsum(self._differences) / len(self._a)

    @cached_property
    def _bootstrap(self) -> _Bootstrap:
        return _Bootstrap(self._differences, self._seed)


def family(pairings: Mapping[Key, Pairing], null: float = 0.0) -> dict[Key, Paired]:
    """All comparisons that are made at once, with Holm's correction over them.

    Args:
        pairings: by any name.
        null: the true difference that is tested: 0, or the margin by which one must be better.
    """
    p_values = {key: pairing.p_value(null) for key, pairing in pairings.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    found: dict[Key, Paired] = {}
    level, holding = ALPHA, True
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        if holding:
            level = ALPHA / (len(p_values) - rank)
            holding = p_values[key] < level
        found[key] = _paired(pairings[key], 1 - level, p_values[key], adjusted[key], len(p_values))
    return {key: found[key] for key in pairings}


def pair(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Paired:
    """One comparison alone."""
    return family({0: Pairing(a, b, seed)})[0]


def _paired(pairing: Pairing, confidence: float, p: float, adjusted: float, size: int) -> Paired:
    difference, bootstrap = pairing.interval(confidence), pairing.bootstrap(confidence)
    least = pairing.detectable(confidence)
    return Paired(
        difference, bootstrap, pairing.wins, pairing.losses, pairing.mcnemar, p, adjusted, round(confidence, 6), size, least
    )


class _Bootstrap:
    """Resampled means of one list of differences, not all equal, with BCa intervals of any level."""

    def __init__(self, values: Sequence[float], seed: int) -> None:
        import numpy as np
        from scipy.stats import norm

        self._values = np.asarray(values, dtype=float)
        self._mean, centred = float(self._values.mean()), self._values - self._values.mean()
        self._means = np.sort(self._resample(np.random.default_rng(seed)))
        self._bias = float(norm.ppf(self._below(self._mean)))
        self._acceleration = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))

    def _resample(self, rng: Any) -> Any:
        """Means of ``RESAMPLES`` resamples: by counts where there are few different values, as of scores of 0 and 1."""
        import numpy as np

        n = len(self._values)
        distinct, counts = np.unique(self._values, return_counts=True)
        if len(distinct) <= _FEW_VALUES:
            return rng.multinomial(n, counts / n, size=RESAMPLES) @ distinct / n
        batch = max(1, 4_000_000 // n)
        sizes = [min(batch, RESAMPLES - start) for start in range(0, RESAMPLES, batch)]
        return np.concatenate([self._values[rng.integers(0, n, (size, n))].mean(axis=1) for size in sizes])

    def _below(self, value: float) -> float:
        """Share of resampled means below a value, ties half; never 0 or 1, which no finite number of them can show."""
        import numpy as np

        least = 0.5 / RESAMPLES
        low, high = (np.searchsorted(self._means, value, side) for side in ("left", "right"))
        return float(min(max((low + high) / 2 / RESAMPLES, least), 1 - least))

    def estimate(self, confidence: float) -> Estimate:
        """Mean with its interval."""
        import numpy as np
        from scipy.stats import norm

        n = len(self._values)
        z = self._bias + norm.ppf(np.array([1 - confidence, 1 + confidence]) / 2)
        low, high = np.quantile(self._means, norm.cdf(self._bias + z / (1 - self._acceleration * z)))
        return Estimate(self._mean, min(float(low), self._mean), max(float(high), self._mean), n)
