"""Intervals against scipy, known values and their own promise: coverage."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from components import bounded, comparison, statistics
from components.benchmarks._estimators import pass_at_k
from components.bounded import Mean
from components.errors import LapidarError
from components.paired import Pairing
from components.statistics import all_equal, bootstrap_mean, mcnemar, mean, rate

UNIT = (0.0, 1.0)


def test_examples_in_docstrings() -> None:
    assert sum(doctest.testmod(module).failed for module in (statistics, bounded, comparison)) == 0


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (81, 263), (3, 10), (500, 1000)])
def test_a_rate_has_clopper_and_pearsons_interval(successes: int, n: int) -> None:
    found, expected = rate(successes, n), binomtest(successes, n).proportion_ci(0.95, method="exact")
    assert found.value == successes / n
    assert found.n == n
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 5, 10, 16, 30, 100, 500])
def test_a_rate_is_covered_wherever_it_lies(n: int) -> None:
    """Exact coverage over every possible count, also where hardly an item fails; Wilson's interval has 0.86 for 0.993 and 20."""
    counts = np.arange(n + 1)
    low, high = (np.array(ends) for ends in zip(*((e.low, e.high) for e in (rate(k, n) for k in counts)), strict=True))
    for truth in [*np.linspace(0.001, 0.999, 200), 0.993, 0.995]:
        covered = binom.pmf(counts, n, truth) @ ((low <= truth) & (truth <= high))
        assert covered > 0.9499, truth


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_win_rate_with_ties_is_covered(n: int) -> None:
    """Exact coverage over every outcome of few comparisons, and no wider than a rate's of as many comparisons without ties."""
    outcomes = [(losses, ties, n - losses - ties) for losses in range(n + 1) for ties in range(n + 1 - losses)]
    found = [mean([0.0] * losses + [0.5] * ties + [1.0] * wins) for losses, ties, wins in outcomes]
    low, high = np.array([e.low for e in found]), np.array([e.high for e in found])
    plain = np.array([rate(e.value * n, n).high - rate(e.value * n, n).low for e in found])
    for ties in (0.0, 0.25, 0.5, 0.75, 0.9):
        for share in (0.5, 0.7, 0.9, 1.0):
            chances = [(1 - ties) * (1 - share), ties, (1 - ties) * share]
            weights, truth = multinomial.pmf(outcomes, n, chances), ties / 2 + chances[2]
            assert weights @ ((low <= truth + 1e-6) & (truth - 1e-6 <= high)) > 0.9499, (ties, share)
            assert weights @ (high - low) <= weights @ plain + 1e-6, (ties, share)


@pytest.mark.parametrize(("n", "share"), [(10, 0.95), (30, 0.3), (30, 0.99), (100, 0.95), (100, 0.995)])
def test_estimates_from_several_answers_are_covered(n: int, share: float) -> None:
    """pass@2 from four answers, for items of which some are easy and some hard: neither 0 and 1 nor normal."""
    rng, scores = np.random.default_rng(1), np.array([pass_at_k(4, right, 2) for right in range(5)])

    def drawn(size: int) -> np.ndarray:
        return scores[rng.binomial(4, rng.beta(share * 2, (1 - share) * 2, size))]

    truth, covered, trials = float(drawn(400_000).mean()), 0, 150
    for _ in range(trials):
        found = mean(list(drawn(n)))
        covered += found.low <= truth <= found.high
    assert covered / trials > 0.93


def test_the_interval_of_bounded_scores_is_the_quantile_of_their_random_weights() -> None:
    values = [0.0, 0.2, 0.2, 0.9, 0.35, 1.0]
    weights = np.random.default_rng(0).dirichlet(np.ones(len(values) + 1), 400_000)
    low, high = np.quantile(weights @ [*values, 0.0], 0.025), np.quantile(weights @ [*values, 1.0], 0.975)
    found = Mean(values).interval()
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-3)


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (1, 10), (15, 16), (599, 600), (3, 12000)])
def test_scores_of_0_and_1_have_a_rates_interval_in_both_ways(successes: int, n: int) -> None:
    found, expected = Mean([1.0] * successes + [0.0] * (n - successes)).interval(), rate(successes, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_bounded_scores_have_a_mirror_image_a_scale_and_p_values() -> None:
    values = [0.1, 0.4, 0.4, 0.8, 1.0]
    found, mirrored = Mean(values).interval(0.9), Mean([1 - value for value in values]).interval(0.9)
    assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-6)
    scaled = Mean([1 + 9 * value for value in values], (1.0, 10.0)).interval(0.9)
    assert (scaled.low, scaled.high) == pytest.approx((1 + 9 * found.low, 1 + 9 * found.high), abs=1e-5)
    for end in (found.low, found.high):
        assert Mean(values).p_value(end) == pytest.approx(0.1, abs=1e-5)
    assert Mean(values).p_value(1.2) == 0.0
    with pytest.raises(LapidarError, match="lies outside 0 to 1"):
        mean([0.5, 1.5])


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_a_rate_without_items_is_an_error(successes: int, n: int) -> None:
    with pytest.raises(LapidarError, match="items"):
        rate(successes, n)


def test_bootstrap_covers_the_mean_of_a_skewed_distribution() -> None:
    rng = np.random.default_rng(0)
    trials = 150
    covered = sum(e.low <= 1.0 <= e.high for e in (bootstrap_mean(rng.exponential(size=60), UNIT, s) for s in range(trials)))
    assert 0.88 < covered / trials < 0.99


def test_bootstrap_is_close_to_the_t_interval_and_repeatable() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    found, half = bootstrap_mean(values, UNIT, seed=5), 1.966 * values.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert found == bootstrap_mean(values, UNIT, seed=5)
    assert found != bootstrap_mean(values, UNIT, seed=6)


def test_degenerate_values() -> None:
    assert bootstrap_mean([0.3, 0.3, 0.3], UNIT) == mean([0.3, 0.3, 0.3])
    assert mean([0.3]).low < 0.01
    assert mean([0.3]).high > 0.98
    with pytest.raises(LapidarError, match=r"a score of 7.0 lies outside 0 to 1"):
        bootstrap_mean([7.0], UNIT)
    with pytest.raises(LapidarError, match="no items"):
        mean([])
    with pytest.raises(LapidarError, match="nan"):
        mean([1.0, float("nan")])


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
    estimates = {value: mean([value] * n, (1.0, 10.0)) for value in values}
    missed = sum(not estimates[row[0]].low <= truth <= estimates[row[0]].high for row in equal)
    assert missed / 20_000 <= 0.025 + 0.003


def test_the_interval_of_equal_zeros_is_clopper_and_pearsons() -> None:
    expected = binomtest(0, 30).proportion_ci(0.95, method="exact")
    assert (mean([0.0] * 30).low, mean([0.0] * 30).high) == pytest.approx((expected.low, expected.high))
