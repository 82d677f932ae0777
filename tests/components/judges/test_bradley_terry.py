from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from components.errors import LapidarError
from components.judges.bradley_terry import Meeting, rank, strengths

TRUE = {"strong": 1.0, "middle": 0.2, "even": 0.2, "weak": -1.4}


def _meetings(seed: int, prompts: int = 150, ties: float = 0.1) -> list[Meeting]:
    draws, names = random.Random(seed), list(TRUE)
    found = []
    for prompt in range(prompts):
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                wins = draws.random() < 1 / (1 + np.exp(TRUE[b] - TRUE[a]))
                found.append(Meeting(str(prompt), a, b, "tie" if draws.random() < ties else "a" if wins else "b"))
    return found


def test_strengths_are_those_of_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    wins = rng.integers(1, 30, (5, 5)).astype(float)
    np.fill_diagonal(wins, 0)
    rows, weights = [], []
    for i in range(5):
        for j in range(5):
            if i != j:
                rows.append(np.eye(5)[i] - np.eye(5)[j])
                weights.append(wins[i, j])
    features = np.array([*rows, *(-row for row in map(np.asarray, rows))])
    outcome = np.array([1] * len(rows) + [0] * len(rows))
    other = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-12, max_iter=2000)
    other.fit(features, outcome, sample_weight=[*weights, *weights])
    expected = other.coef_[0] - other.coef_[0].mean()
    assert strengths(wins) == pytest.approx(expected, abs=1e-3)


def test_known_strengths_are_found_and_covered_by_their_intervals() -> None:
    """Ties count as half wins, which pulls strengths together a little; without ties the intervals cover them."""
    scale, covered = 400 / np.log(10), 0
    centre = np.mean(list(TRUE.values()))
    for seed in range(8):
        points = rank(_meetings(seed, ties=0), seed).points
        covered += sum(points[name].low <= scale * (value - centre) <= points[name].high for name, value in TRUE.items())
    assert covered >= 0.85 * 8 * len(TRUE)
    ranking = rank(_meetings(0))
    assert next(iter(ranking.points)) == "strong"
    assert ranking.ranks["strong"] == (1, 1)
    assert ranking.ranks["weak"] == (4, 4)
    assert ranking.ranks["middle"] == ranking.ranks["even"] == (2, 3)
    assert ranking.note == ""


def test_more_prompts_give_narrower_intervals() -> None:
    few, many = (rank(_meetings(1, n)).points["strong"] for n in (30, 300))
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_a_model_that_never_lost_has_finite_points_an_honest_interval_and_a_note() -> None:
    one = rank([Meeting("1", "a", "b", "a")])
    many = rank([Meeting(str(i), "a", "b", "a") for i in range(40)])
    assert "a lost nothing and b won nothing" in one.note
    assert one.ranks["a"] == (1, 2)
    assert many.ranks["a"] == (1, 1)
    assert np.isfinite(many.points["a"].high)


def test_models_that_never_met_are_not_ranked_together() -> None:
    with pytest.raises(LapidarError, match=r"\{a, b\} and \{c, d\} were never compared"):
        rank([Meeting("1", "a", "b", "a"), Meeting("1", "c", "d", "tie")])


def test_only_ties_make_equals() -> None:
    ranking = rank([Meeting(str(i), "a", "b", "tie") for i in range(30)])
    assert [estimate.value for estimate in ranking.points.values()] == pytest.approx([0, 0])
    assert ranking.ranks == {"a": (1, 2), "b": (1, 2)}
