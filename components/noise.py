"""The noise floor: how far two runs of one evaluation lie apart when nothing but the seed differs. Pure.

From the scores of ``k`` runs with standard deviation ``s``, a difference of two further runs lies within
``t(0.975, k - 1) · s · √2`` in 95 % of cases; t is Student's quantile, which for 3 runs is 4.3 and for 10 is 2.3. A floor
belongs to a model, a benchmark and the settings that it is asked with; ``components.floors`` keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import stdev
from typing import Any

from components.errors import InputError

LEAST_RUNS = 3
Floors = Mapping[tuple[str, str], "Floor"]
"""By benchmark and metric."""


@dataclass(frozen=True)
class Floor:
    """How far two runs may lie apart by chance.

    Attributes:
        half_width: of the 95 % interval of a difference of two runs.
        runs: how many it was taken from.
    """

    half_width: float
    runs: int


def floor(scores: Sequence[float]) -> Floor:
    """The floor from the scores of runs that differ in their seed only.

    Raises:
        InputError: if there are fewer than three, or one isn't a finite number.
    """
    from scipy.stats import t

    if len(scores) < LEAST_RUNS:
        raise InputError(
            f"{len(scores)} runs ({', '.join(f'{score:g}' for score in scores)}) give no noise floor; "
            f"it takes {LEAST_RUNS} or more: set evaluate.reruns={LEAST_RUNS - 1} or higher"
        )
    if bad := next((score for score in scores if not math.isfinite(score)), None):
        raise InputError(f"a run scored {bad}; a noise floor needs finite numbers")
    half_width = float(t.ppf(0.975, len(scores) - 1)) * stdev(scores) * math.sqrt(2)
    return Floor(half_width, len(scores))


def between(a: Floor | None, b: Floor | None) -> Floor | None:
    """The floor of a difference of two models; where only one has a floor, the other is taken to be as noisy."""
    if a is None or b is None:
        return a or b
    return Floor(math.sqrt((a.half_width**2 + b.half_width**2) / 2), min(a.runs, b.runs))


def merged(a: Floors, b: Floors) -> dict[tuple[str, str], Floor]:
    """``between`` for all that either has."""
    found = {key: between(a.get(key), b.get(key)) for key in a.keys() | b.keys()}
    return {key: value for key, value in found.items() if value is not None}


def to_json(floors: Floors) -> dict[str, dict[str, dict[str, Any]]]:
    """``{benchmark: {metric: {half_width, runs}}}``."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (benchmark, metric), value in sorted(floors.items()):
        found.setdefault(benchmark, {})[metric] = asdict(value)
    return found


def from_json(content: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[tuple[str, str], Floor]:
    """The inverse of ``to_json``."""
    return {(b, m): Floor(found["half_width"], found["runs"]) for b, metrics in content.items() for m, found in metrics.items()}
