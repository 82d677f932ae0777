"""Figures of a benchmark that aren't the mean of its items' scores, with their 95 % intervals.

A benchmark file with such figures has ``summary(items)``, which gives them by metric; they stand beside the means, or in the
place of the mean of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from components.artifacts import Estimate
from components.statistics import mean, rate

_Z = 1.959963984540054  # two-sided 95 % of the normal distribution


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """Sum of the parts over sum of the wholes, e.g. instructions followed of those given; an item is drawn with all its own.

    The interval is linearised (Cochran 1977, eq. 2.39). It is that of ``statistics.rate`` for as many whole items where items don't
    differ at all, which would give none.

    >>> ratio([1, 1], [1, 3]).value
    0.5
    """
    n, size = len(parts), fmean(wholes)
    value = sum(parts) / sum(wholes)
    spread = [(part - value * whole) / size for part, whole in zip(parts, wholes, strict=True)]
    if n == 1 or not any(spread):
        plain = rate(value * n, n)
        return Estimate(value, plain.low, plain.high, n)
    half = _Z * math.sqrt(sum(s * s for s in spread) / (n - 1) / n)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n)


def mean_of_means(groups: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Estimate]:
    """Means of scores between 0 and 1 by task, of tasks by category, and of categories, each level with equal weights.

    Args:
        groups: scores by category and task.

    Returns:
        ``""`` for the whole, ``category`` for each, with normal intervals from the variance within tasks.

    >>> {k: round(v.value, 3) for k, v in mean_of_means({"a": {"x": [1, 1, 1, 1], "y": [0, 1]}, "b": {"z": [0, 0]}}).items()}
    {'a': 0.75, 'b': 0.0, '': 0.375}
    """
    found: dict[str, Estimate] = {}
    wholes: list[tuple[float, float]] = []
    for category, tasks in groups.items():
        parts = [_task(scores) for scores in tasks.values()]
        value, error = _level(parts)
        wholes.append((value, error))
        found[category] = _estimate(value, error, sum(map(len, tasks.values())))
    found[""] = _estimate(*_level(wholes), sum(estimate.n for estimate in found.values()))
    return found


def _task(scores: Sequence[float]) -> tuple[float, float]:
    """(mean, squared standard error); where nothing varies, the error that the interval of such scores has."""
    if len(scores) > 1 and (spread := variance(scores)) > 0:
        return fmean(scores), spread / len(scores)
    wide = mean(scores) if scores[0] in (0, 1) else Estimate(scores[0], 0.0, 1.0, len(scores))
    return scores[0], ((wide.high - wide.low) / (2 * _Z)) ** 2


def _level(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(value for value, _ in parts), sum(error for _, error in parts) / len(parts) ** 2


def _estimate(value: float, error: float, n: int) -> Estimate:
    half = _Z * math.sqrt(error)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n)
