"""Logistic regression with a weak Gaussian prior, small enough to be refitted thousands of times.

The outcome may lie between 0 and 1: a tie counts as half a win. The prior keeps coefficients finite where a feature explains
everything (a judge that always prefers the longer answer); what matters is tested by the ratio of penalised likelihoods, because
Wald's test loses its power exactly there (Hauck and Donner 1977).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PRIOR = 3.0
"""Standard deviation of a coefficient before anything is seen, on the scale of standardised features."""
_STEPS = 100
_CLOSE = 1e-8


@dataclass(frozen=True)
class Fit:
    """Coefficients with standard errors, and the penalised log-likelihood that they reach."""

    coefficients: Array
    errors: Array
    likelihood: float


def fit(features: Array, outcome: Array, prior: float = PRIOR) -> Fit:
    """Newton's method with halved steps.

    Args:
        features: shape [items, features], the intercept among them if there is to be one.
        outcome: shape [items], between 0 and 1.
    """
    import numpy as np

    weight = np.zeros(features.shape[1])
    reached = _likelihood(features, outcome, weight, prior)
    for _ in range(_STEPS):
        rate = _sigmoid(features @ weight)
        gradient = features.T @ (outcome - rate) - weight / prior**2
        step = np.linalg.solve(_hessian(features, rate, prior), gradient)
        while (found := _likelihood(features, outcome, weight + step, prior)) < reached and np.abs(step).max() > _CLOSE:
            step /= 2
        weight, gain, reached = weight + step, found - reached, found
        if abs(gain) < _CLOSE and np.abs(step).max() < 1e-6:
            break
    covariance = np.linalg.inv(_hessian(features, _sigmoid(features @ weight), prior))
    return Fit(weight, np.sqrt(np.diag(covariance)), float(reached))


def matters(features: Array, outcome: Array, column: int, prior: float = PRIOR) -> float:
    """p-value that a feature has no effect beside the others, by the likelihood ratio with one degree of freedom."""
    import numpy as np
    from scipy.stats import chi2

    without = np.delete(features, column, axis=1)
    gained = fit(features, outcome, prior).likelihood - fit(without, outcome, prior).likelihood
    return float(chi2.sf(max(0.0, 2 * gained), 1))


def _hessian(features: Array, rate: Array, prior: float) -> Array:
    import numpy as np

    found: Array = (features * (rate * (1 - rate))[:, None]).T @ features + np.eye(features.shape[1]) / prior**2
    return found


def _likelihood(features: Array, outcome: Array, weight: Array, prior: float) -> float:
    import numpy as np

    logits = features @ weight
    return float((outcome * logits - np.logaddexp(0, logits)).sum() - (weight**2).sum() / (2 * prior**2))


def _sigmoid(logits: Array) -> Array:
    from scipy.special import expit

    found: Array = expit(logits)
    return found
