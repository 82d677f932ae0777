"""Cohen's kappa: agreement beyond chance (Cohen 1960), with a bootstrap interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from components.artifacts import Estimate
from components.errors import LapidarError

RESAMPLES = 2000


@dataclass(frozen=True)
class Agreement:
    """How far two raters agree.

    Attributes:
        rate: share of items on which they say the same.
        chance: the share that two raters with these habits would reach by chance.
        kappa: ``(rate - chance) / (1 - chance)``.
    """

    rate: Estimate
    chance: float
    kappa: Estimate


def agreement(one: Sequence[Hashable], other: Sequence[Hashable], seed: int = 0) -> Agreement:
    """Two raters' verdicts on the same items; whatever value says "no verdict" is a category like any other.

    >>> found = agreement("aabbt", "aabba")
    >>> round(found.rate.value, 2), round(found.chance, 2), round(found.kappa.value, 3)
    (0.8, 0.4, 0.667)

    Raises:
        LapidarError: if there are no items or their numbers differ.
    """
    import numpy as np

    from components.statistics import rate

    if len(one) != len(other) or not one:
        raise LapidarError(f"{len(one)} verdicts can't be held against {len(other)}; both raters must rate the same items")
    names = {name: place for place, name in enumerate(dict.fromkeys([*one, *other]))}
    a, b = (np.array([names[value] for value in values]) for values in (one, other))
    size, n = len(names), len(a)
    draws = np.random.default_rng(seed).multinomial(n, np.bincount(a * size + b, minlength=size * size) / n, RESAMPLES)
    tables = draws.reshape(-1, size, size)
    values = _kappa(tables.trace(axis1=1, axis2=2) / n, (tables.sum(2) * tables.sum(1)).sum(1) / n**2)
    same, chance = int((a == b).sum()), _chance(one, other)
    value = float(_kappa(np.array(same / n), np.array(chance)))
    low, high = (float(np.quantile(values, q)) for q in (0.025, 0.975))
    return Agreement(rate(same, n), chance, Estimate(value, min(low, value), max(high, value), n))


def _chance(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    theirs, others = Counter(one), Counter(other)
    return sum(count * others[name] for name, count in theirs.items()) / len(one) ** 2


def _kappa(rate: Any, chance: Any) -> Any:
    """Kappa of arrays; raters that can't but agree (one category for all) have 0: nothing is shown beyond chance."""
    import numpy as np

    return np.where(chance < 1, (rate - chance) / np.where(chance < 1, 1 - chance, 1), 0.0)
