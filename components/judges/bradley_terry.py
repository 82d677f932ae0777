"""Ranks models from pairwise verdicts: Bradley–Terry strengths by Hunter's MM algorithm, with bootstrap intervals.

A model of strength p wins against one of strength q with probability p / (p + q) (Bradley and Terry 1952); ties count as half a win
for each. Maximum likelihood by the MM updates of Hunter 2004 (Annals of Statistics 32, eq. 3). It exists only if no group of models
has won (or lost) everything against the rest (Ford 1957): where one has, half a win each way is added between every two models that
met (Jeffreys' prior, from which the intervals are drawn as well), and the ranking says so. Models that never met, not even through
others, can't be ranked together: an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.artifacts import Estimate
from components.errors import LapidarError
from components.judges.verdicts import Side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

RESAMPLES = 500
PRIOR = 0.5
_STEPS = 10_000
_CLOSE = 1e-9
_LEAST = 1e-6
_ELO = 173.71779276130073  # 400 / ln 10: points by which a strength ten times as large stands above


@dataclass(frozen=True)
class Meeting:
    """One prompt's verdict on two models."""

    prompt: str
    a: str
    b: str
    outcome: Side


@dataclass(frozen=True)
class Ranking:
    """Models by strength, best first.

    Attributes:
        points: 400 · log₁₀ of the strength, as Elo counts it; their mean is 0.
        ranks: the best and the worst rank that the intervals allow.
        note: why a prior was needed, or empty.
    """

    points: dict[str, Estimate]
    ranks: dict[str, tuple[int, int]]
    note: str = ""


def rank(meetings: Sequence[Meeting], seed: int = 0) -> Ranking:
    """The ranking of all models that met. The bootstrap draws prompts, with all verdicts on each: they aren't independent.

    Raises:
        LapidarError: if there is no verdict, or models are in groups that never met.
    """
    import numpy as np

    names = sorted({name for meeting in meetings for name in (meeting.a, meeting.b)})
    if len(names) < 2:
        raise LapidarError("a ranking needs verdicts on at least two models")
    by_prompt: dict[str, Array] = {}
    for meeting in meetings:
        wins = by_prompt.setdefault(meeting.prompt, np.zeros((len(names), len(names))))
        a, b = names.index(meeting.a), names.index(meeting.b)
        share = {"a": 1.0, "b": 0.0, "tie": 0.5}[meeting.outcome]
        wins[a, b] += share
        wins[b, a] += 1 - share
    stacked = np.stack(list(by_prompt.values()))
    total = stacked.sum(0)
    met = total + total.T > 0
    if len(groups := _components(met)) > 1:
        shown = " and ".join("{" + ", ".join(names[i] for i in group) + "}" for group in groups)
        raise LapidarError(f"models that never met can't be ranked together: {shown} were never compared")
    points = _points(total, met)
    rng = np.random.default_rng(seed)
    strong = _strong(total > 0)
    draw = (lambda: np.tensordot(_weights(rng, len(stacked)), stacked, 1)) if strong else (lambda: _jeffreys(rng, total, met))
    samples = np.stack([_points(draw(), met) for _ in range(RESAMPLES)])
    low, high = np.quantile(samples, 0.025, 0), np.quantile(samples, 0.975, 0)
    n = {name: round(float((total + total.T)[place].sum())) for place, name in enumerate(names)}
    found = {
        names[i]: Estimate(float(points[i]), float(min(low[i], points[i])), float(max(high[i], points[i])), n[names[i]])
        for i in np.argsort(-points)
    }
    return Ranking(found, _ranks(found), "" if strong else _note(total, names))


def strengths(wins: Array, met: Array | None = None) -> Array:
    """Log-strengths with mean 0 that make the verdicts most likely.

    Args:
        wins: shape [models, models]; ``wins[i, j]`` counts wins of i over j, a tie as half.
        met: which models met at all, where ``wins`` is a resample in which they may not have.
    """
    import numpy as np

    if not _strong(wins > 0):
        wins = wins + PRIOR * (met if met is not None else (wins + wins.T > 0))
    games, won = wins + wins.T, wins.sum(1)
    p = np.ones(len(wins))
    for _ in range(_STEPS):
        new = won / (games / (p[:, None] + p[None, :])).sum(1)
        new /= np.exp(np.log(new).mean())
        if np.abs(np.log(new) - np.log(p)).max() < _CLOSE:
            break
        p = new
    found: Array = np.log(new)
    return found


def _points(wins: Array, met: Array) -> Array:
    found: Array = _ELO * strengths(wins, met)
    return found


def _weights(rng: Any, n: int) -> Array:
    """How often each prompt is drawn in a resample."""
    import numpy as np

    found: Array = np.bincount(rng.integers(0, n, n), minlength=n).astype(float)
    return found


def _jeffreys(rng: Any, wins: Array, met: Array) -> Array:
    """Wins drawn for every two models from what Jeffreys' prior makes of theirs: resampling "always" gives "always"."""
    import numpy as np

    found = np.zeros_like(wins)
    for i, j in zip(*np.nonzero(np.triu(met)), strict=True):
        games = wins[i, j] + wins[j, i]
        share = min(max(rng.beta(wins[i, j] + PRIOR, wins[j, i] + PRIOR), _LEAST), 1 - _LEAST)
        found[i, j], found[j, i] = games * share, games * (1 - share)
    return found


def _ranks(points: Mapping[str, Estimate]) -> dict[str, tuple[int, int]]:
    """A model stands below those whose interval lies wholly above its own, and above those whose lies below."""
    return {
        name: (
            1 + sum(other.low > mine.high for other in points.values()),
            len(points) - sum(other.high < mine.low for other in points.values()),
        )
        for name, mine in points.items()
    }


def _components(met: Array) -> list[list[int]]:
    """Models in groups that met, directly or through others."""
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(met, directed=False)
    return [[i for i, label in enumerate(labels) if label == group] for group in range(count)]


def _strong(beaten: Array) -> bool:
    """Ford's condition: from every model a chain of wins leads to every other."""
    from scipy.sparse.csgraph import connected_components

    return int(connected_components(beaten, directed=True, connection="strong")[0]) == 1


def _note(wins: Array, names: Sequence[str]) -> str:
    all_won = [name for i, name in enumerate(names) if wins[:, i].sum() == 0]
    none_won = [name for i, name in enumerate(names) if wins[i].sum() == 0]
    said = [f"{', '.join(all_won)} lost nothing"] if all_won else []
    said += [f"{', '.join(none_won)} won nothing"] if none_won else []
    why = " and ".join(said) or "some models won everything against all others"
    return f"{why}, so the difference has no upper bound; half a win each way was added between models that met"
