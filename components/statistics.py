"""Intervals and tests of scores; ``components.paired`` compares two models with them. All randomness is seeded."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.artifacts import Estimate
from components.bounded import UNIT, Bounds, Mean
from components.errors import LapidarError

RESAMPLES = 10_000


def rate(successes: float, n: int) -> Estimate:
    """Clopper and Pearson's 95 % interval for a rate (1934): exact, so that few items and rates near 0 and 1 don't look too sure.

    >>> found = rate(16, 16)
    >>> round(found.low, 3), found.value, found.high
    (0.794, 1.0, 1.0)

    Args:
        successes: of the items; half ones count as such.

    Raises:
        LapidarError: if there is no item, or more successes than items.
    """
    if n < 1 or not 0 <= successes <= n:
        raise LapidarError(f"a rate of {successes} in {n} items isn't defined; it needs at least one item")
    from scipy.special import betaincinv

    low = float(betaincinv(successes, n - successes + 1, 0.025)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 0.975)) if successes < n else 1.0
    return Estimate(successes / n, low, high, n)


def mean(values: Sequence[float], bounds: Bounds = UNIT) -> Estimate:
    """Mean of item scores with an interval that holds its level: that of ``rate`` if all are 0 or 1, else of ``bounded.Mean``.

    >>> found = mean([0.5, 0.5, 0.5, 1.0, 0.5])
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (0.275, 0.6, 0.858)

    Args:
        bounds: between which a single score can lie, 0 and 1 for most.

    Raises:
        LapidarError: if there are no values, or some outside their bounds.
    """
    check(values)
    return rate(sum(values), len(values)) if bounds == UNIT and is_binary(values) else Mean(values, bounds).interval()


def bootstrap_mean(values: Sequence[float], bounds: Bounds, seed: int = 0) -> Estimate:
    """Mean of values without bounds (losses, rewards) with a BCa bootstrap interval (Efron 1987); those with bounds have ``mean``.

    Args:
        bounds: between which values are taken to lie where all are equal, so that there is no spread to resample.

    Raises:
        LapidarError: if there are no values, or equal ones outside their bounds.
    """
    import numpy as np
    from scipy.stats import bootstrap

    check(values)
    if all_equal(values):
        return Mean([values[0]] * len(values), bounds).interval()
    array = np.asarray(values, dtype=float)
    average = float(array.mean())
    batch = max(1, 4_000_000 // len(array))
    found = bootstrap((array,), np.mean, n_resamples=RESAMPLES, batch=batch, method="BCa", rng=np.random.default_rng(seed))
    low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
    return Estimate(average, min(low, average), max(high, average), len(array))


def mcnemar(a: Sequence[float], b: Sequence[float]) -> float:
    """Exact two-sided p-value that two models are right equally often (McNemar 1947), from 0/1 scores of the same items.

    >>> mcnemar([1, 1, 1, 1, 0], [0, 0, 0, 0, 0])
    0.125

    Raises:
        LapidarError: if there are no items, the lists differ in length or hold other scores.
    """
    if len(a) != len(b) or not a or not is_binary([*a, *b]):
        raise LapidarError(f"McNemar's test needs 0/1 scores of the same items; it got {len(a)} and {len(b)} scores")
    from scipy.stats import binomtest

    wins, losses = discordant(a, b)
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given: reject where they are below the level.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Raises:
        LapidarError: if a value isn't a probability.
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise LapidarError(f"p-values lie between 0 and 1; got {list(p_values)}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def detectable_difference(n: int, disagreement: float = 0.2, power: float = 0.8, confidence: float = 0.95) -> float:
    """Smallest true difference of two models' rates that a paired comparison shows with the given power.

    For 0/1 scores of ``n`` items, on a share ``disagreement`` of which only one model is right: the ``d`` that solves
    ``d = (z √δ + z_power √(δ - d²)) / √n`` with δ the disagreement and z the normal quantile of the interval's
    level (1.96 for 0.95; more where many comparisons are corrected for) (Connor 1987, eq. 2.2); infinity where not even a
    difference of δ, the largest that there can be, would be shown.

    Raises:
        LapidarError: if there are no items, or a share isn't between 0 and 1.
    """
    if n < 1 or not 0 < disagreement <= 1 or not 0 < power < 1 or not 0 < confidence < 1:
        raise LapidarError(
            f"{n} items, disagreement {disagreement}, power {power}, confidence {confidence}: one of them is out of range"
        )
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, z_level = float(norm.ppf(power)), float(norm.ppf((1 + confidence) / 2))

    def lacking(d: float) -> float:
        return d * math.sqrt(n) - z_level * math.sqrt(disagreement) - z * math.sqrt(max(0.0, disagreement - d * d))

    if lacking(disagreement) <= 0:
        return math.inf
    return float(brentq(lacking, 0.0, disagreement))


def discordant(a: Sequence[float], b: Sequence[float]) -> tuple[int, int]:
    """(items where only ``a`` is right, items where only ``b`` is)."""
    return sum(x > y for x, y in zip(a, b, strict=True)), sum(x < y for x, y in zip(a, b, strict=True))


def all_equal(values: Sequence[float]) -> bool:
    """Whether values don't differ beyond what rounding makes of differences of equal scores (0.7 - 0.6 and 0.8 - 0.7)."""
    return max(values) - min(values) <= 1e-9 * max(1.0, abs(values[0]))


def is_binary(values: Sequence[float]) -> bool:
    """Whether all scores are 0 or 1."""
    return all(value in (0, 1) for value in values)


def check(values: Sequence[float]) -> None:
    """Scores that something can be estimated from.

    Raises:
        LapidarError: if there are none, or one isn't a finite number.
    """
    if not len(values):
        raise LapidarError("no items to estimate from; the evaluation is empty")
    if bad := next((value for value in values if not math.isfinite(value)), None):
        raise LapidarError(f"a score is {bad}; scores must be finite numbers")
