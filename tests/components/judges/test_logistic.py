from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from components.judges.logistic import fit, matters


def _data(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    return features, (rng.random(n) < 1 / (1 + np.exp(-(features @ [0.3, 1.0, 0.0])))).astype(float)


def test_coefficients_are_those_of_scikit_learn() -> None:
    features, outcome = _data()
    other = LogisticRegression(C=3.0**2, fit_intercept=False, tol=1e-10).fit(features, outcome)
    assert fit(features, outcome, prior=3.0).coefficients == pytest.approx(other.coef_[0], abs=1e-4)


def test_a_tie_is_half_a_win_and_half_a_loss() -> None:
    features, outcome = _data(n=50)
    doubled = np.concatenate([outcome, 1 - outcome])
    found = fit(features, np.full(50, 0.5)).coefficients
    assert found == pytest.approx(np.zeros(3), abs=1e-6)
    assert fit(np.concatenate([features, features]), doubled).coefficients == pytest.approx(np.zeros(3), abs=1e-6)


def test_what_matters_is_told_from_what_does_not() -> None:
    features, outcome = _data()
    assert matters(features, outcome, 1) < 1e-6
    p_values = [matters(*_data(seed), 2) for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.1


def test_a_feature_that_explains_everything_has_a_finite_coefficient_and_still_matters() -> None:
    features = np.column_stack([np.ones(40), np.tile([-1.0, 1.0], 20)])
    outcome = np.tile([0.0, 1.0], 20)
    found = fit(features, outcome)
    assert 2 < found.coefficients[1] < 20
    assert matters(features, outcome, 1) < 1e-6
