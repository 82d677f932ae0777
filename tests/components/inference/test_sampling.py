"""Draws follow the distribution that transformers' own warpers give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from components.inference.sampling import choose, noise


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.5, 0.5)])
def test_distribution(temperature: float, top_p: float) -> None:
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    torch.manual_seed(0)
    logits = torch.randn(1, 40) * 2
    warped = TemperatureLogitsWarper(temperature)(None, logits) if temperature != 1 else logits
    warped = TopPLogitsWarper(top_p)(None, warped) if top_p < 1 else warped
    expected = warped.softmax(-1)[0].double().numpy()
    draws = 10_000
    tokens = choose(logits.expand(draws, -1), temperature, top_p, noise(7, list(range(draws)), 1)[:, 0]).numpy()
    counts = np.bincount(tokens, minlength=40)
    assert not counts[expected == 0].any()
    common = expected * draws >= 5
    rest = ~common & (expected > 0)
    observed = [*counts[common], counts[rest].sum()] if rest.any() else counts[common]
    wanted = [*expected[common], expected[rest].sum()] if rest.any() else expected[common]
    assert chisquare(observed, np.array(wanted) / sum(wanted) * sum(observed)).pvalue > 0.001


def test_zero_temperature_is_the_most_probable_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert choose(logits, 0.0, 1.0, None).tolist() == [1, 0]


def test_a_nucleus_of_one_token_is_greedy() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]]).expand(50, -1)
    assert set(choose(logits, 1.0, 1e-9, noise(0, list(range(50)), 1)[:, 0]).tolist()) == {1}


def test_noise_is_a_requests_own() -> None:
    assert torch.equal(noise(3, [5, 1], 4)[0], noise(3, [2, 5], 4)[1])
    assert not torch.equal(noise(3, [5], 4), noise(4, [5], 4))
    assert torch.equal(noise(3, [5], 9)[:, :4], noise(3, [5], 4))
    draws = noise(0, list(range(500)), 20)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.02
