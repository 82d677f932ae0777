"""Intervals against scipy, known values and their own promise: coverage."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from components import comparison, statistics
from components.errors import LapidarError
from components.paired import Pairing
from components.statistics import alike, all_equal, bootstrap_mean, mcnemar, mean, wilson


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(statistics).failed == doctest.testmod(comparison).failed == 0


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (81, 263), (3, 10), (500, 1000)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    found, expected = wilson(successes, n), binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert found.value == successes / n
    assert found.n == n
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.84])
def test_wilson_covers(rate: float) -> None:
    """Exact coverage over every possible count: near 95 %, never far below."""
    n = 100
    covered = sum(binom.pmf(k, n, rate) for k in range(n + 1) if wilson(k, n).low <= rate <= wilson(k, n).high)
    assert 0.93 < covered < 0.98


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_a_rate_without_items_is_an_error(successes: int, n: int) -> None:
    with pytest.raises(LapidarError, match="items"):
        wilson(successes, n)


def test_bootstrap_covers_the_mean_of_a_skewed_distribution() -> None:
    rng = np.random.default_rng(0)
    trials = 150
    covered = sum(e.low <= 1.0 <= e.high for e in (bootstrap_mean(rng.exponential(size=60), seed) for seed in range(trials)))
    assert 0.88 < covered / trials < 0.99


def test_bootstrap_is_close_to_the_t_interval_and_repeatable() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    found, half = bootstrap_mean(values, seed=5), 1.966 * values.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert found == bootstrap_mean(values, seed=5)
    assert found != bootstrap_mean(values, seed=6)


def test_degenerate_values() -> None:
    assert bootstrap_mean([0.3, 0.3, 0.3]) == alike(0.3, 3)
    assert bootstrap_mean([0.3]).low < 0.01
    assert bootstrap_mean([0.3]).high > 0.98
    with pytest.raises(LapidarError, match=r"scores of 7.0 lie outside 0 to 1"):
        bootstrap_mean([7.0])
    with pytest.raises(LapidarError, match="no items"):
        bootstrap_mean([])
    with pytest.raises(LapidarError, match="nan"):
        bootstrap_mean([1.0, float("nan")])


def test_mean_takes_wilson_for_rates_and_the_bootstrap_for_others() -> None:
    assert mean([1.0, 0.0, 1.0, 1.0]) == wilson(3, 4)
    assert mean([1.0, 0.5, 0.0, 1.0]) == bootstrap_mean([1.0, 0.5, 0.0, 1.0])


def test_mcnemar() -> None:
    assert mcnemar([1] * 10 + [0] * 2, [0] * 10 + [1] * 2) == pytest.approx(binomtest(10, 12).pvalue)
    assert mcnemar([1, 0], [1, 0]) == 1.0
    with pytest.raises(LapidarError, match="0/1"):
        mcnemar([0.5], [1])


def test_holm_is_what_scipy_and_the_paper_say() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []
    with pytest.raises(LapidarError, match="between 0 and 1"):
        statistics.holm([0.2, 1.2])


@pytest.mark.parametrize(("n", "disagreement"), [(500, 0.2), (200, 0.4), (1200, 0.1)])
def test_a_detectable_difference_is_shown_in_four_of_five_studies(n: int, disagreement: float) -> None:
    difference = statistics.detectable_difference(n, disagreement)
    rng, shown, studies = np.random.default_rng(0), 0, 600
    p = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    for wins, losses, _ in rng.multinomial(n, p, size=studies):
        a = [1.0] * wins + [0.0] * (n - wins)
        b = [0.0] * wins + [1.0] * losses + [0.0] * (n - wins - losses)
        shown += Pairing(a, b).interval().low > 0
    assert shown / studies == pytest.approx(0.8, abs=0.05)


def test_too_few_items_show_nothing() -> None:
    assert statistics.detectable_difference(6) == float("inf")
    with pytest.raises(LapidarError, match="0 items"):
        statistics.detectable_difference(0)


def test_equal_shares_of_few_items_are_not_certain() -> None:
    ties = mean([0.5, 0.5, 0.5])
    assert ties.value == 0.5
    assert ties.low < 0.15
    assert ties.high > 0.85
    assert mean([0.5]).high - mean([0.5]).low > 0.95


@pytest.mark.parametrize("n", [1, 2, 5, 80, 1000])
@pytest.mark.parametrize("value", [0.0, 0.25, 1.0, 7.0])
def test_no_finite_data_are_certain(value: float, n: int) -> None:
    bounds = (0.0, 1.0) if value <= 1 else (1.0, 10.0)
    found = mean([value] * n, bounds=bounds)
    assert found.value == value
    assert bounds[0] <= found.low <= value <= found.high <= bounds[1]
    assert found.high - found.low > 0.7 / n


def test_scores_that_differ_by_rounding_only_are_equal() -> None:
    """0.7 - 0.6 and 0.8 - 0.7 aren't the same number."""
    values = [0.7 - 0.6, 0.8 - 0.7, 0.4 - 0.3] * 5
    assert len(set(values)) > 1
    assert all_equal(values)
    assert mean(values).high - mean(values).low > 0.1


@pytest.mark.parametrize(
    ("n", "values", "chances"),
    [
        (80, (7.0, 10.0), (0.98, 0.02)),
        (80, (7.0, 1.0), (0.99, 0.01)),
        (10, (7.0, 1.0), (0.9, 0.1)),
        (20, (8.0, 9.0, 1.0), (0.95, 0.04, 0.01)),
        (5, (1.0, 10.0), (0.7, 0.3)),
    ],
)
def test_equal_ratings_cover_the_mean(n: int, values: tuple[float, ...], chances: tuple[float, ...]) -> None:
    """Of all samples from such a distribution at most 2.5 % are equal and miss its mean; with width zero all of them would."""
    truth = float(np.dot(values, chances))
    draws = np.random.default_rng(0).choice(values, size=(20_000, n), p=chances)
    equal = draws[(draws == draws[:, :1]).all(axis=1)]
    assert len(equal) > 50, "the case is about samples without any spread"
    estimates = {value: alike(value, n, (1.0, 10.0)) for value in values}
    missed = sum(not estimates[row[0]].low <= truth <= estimates[row[0]].high for row in equal)
    assert missed / 20_000 <= 0.025 + 0.003


def test_the_interval_of_equal_zeros_is_clopper_and_pearsons() -> None:
    expected = binomtest(0, 30).proportion_ci(0.95, method="exact")
    assert (alike(0.0, 30).low, alike(0.0, 30).high) == pytest.approx((expected.low, expected.high))
