"""Paired tests: intervals that cover, p-values that belong to them, and Holm's correction of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from components.artifacts import Estimate
from components.errors import LapidarError
from components.paired import Pairing, family, pair
from components.statistics import mcnemar, rate


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    return pair(a, b).difference


@pytest.mark.parametrize(("p_a", "p_b", "n"), [(0.10, 0.10, 100), (0.05, 0.01, 300), (0.3, 0.1, 50), (0.01, 0.01, 600)])
def test_paired_difference_covers(p_a: float, p_b: float, n: int) -> None:
    """``p_a``, ``p_b``: rates at which only the one or only the other model is right."""
    rng = np.random.default_rng(1)
    covered = 0
    for wins, losses, _ in rng.multinomial(n, [p_a, p_b, 1 - p_a - p_b], size=1000):
        found = paired_difference([1] * wins + [0] * (n - wins), [0] * (n - losses) + [1] * losses)
        covered += found.low <= p_a - p_b <= found.high
    assert covered / 1000 > 0.93


PARTLY = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Differences of two scores of 0, ½ and 1."""


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize(
    "shares", [(0.05, 0.05, 0.8, 0.05, 0.05), (0, 0, 0.9, 0.05, 0.05), (0, 0.01, 0.94, 0.05, 0), (0, 0.05, 0.15, 0.2, 0.6)]
)
def test_paired_difference_of_partly_right_answers_covers(shares: tuple[float, ...], n: int) -> None:
    """The BCa bootstrap covers 0.87 of the first and the third with 20 items: it calls equal models different in one of eight."""
    rng, true = np.random.default_rng(5), float(np.dot(PARTLY, shares))
    found = [Pairing(rng.choice(PARTLY, n, p=shares), [0.0] * n).interval() for _ in range(1000)]
    assert sum(each.low - 1e-9 <= true <= each.high + 1e-9 for each in found) / 1000 > 0.92


def test_partly_right_answers_come_near_to_right_and_wrong_ones() -> None:
    """There is one rule: a single half point among 300 items changes little."""
    right = [1.0] * 40 + [0.0] * 260, [0.0] * 40 + [1.0] * 15 + [0.0] * 245
    partly = [*right[0][:-1], 0.5], right[1]
    whole, half = paired_difference(*right), paired_difference(*partly)
    assert (half.low, half.high) == pytest.approx((whole.low, whole.high), abs=0.003)


def test_paired_difference_agrees_with_the_exact_test_where_few_items_differ() -> None:
    for wins in range(1, 12):
        a, b = [1] * wins + [0] * (600 - wins), [0] * 600
        assert (paired_difference(a, b).low > 0) == (mcnemar(a, b) < 0.05), wins


def test_the_interval_shows_a_difference_only_where_mcnemars_test_does() -> None:
    """Every number of wins and losses that comes near to zero; the adjusted Wald interval alone disagrees on dozens of them."""
    shown, kept_back, n = 0, 0, 300
    for losses in range(20):
        for wins in range(losses, losses + 25):
            pairing = planted(n, wins, losses)
            found, exact = pairing.interval(), mcnemar([1] * wins + [0] * losses, [0] * wins + [1] * losses) if wins else 1.0
            excludes = not found.low <= 0 <= found.high
            assert excludes == (pairing.p_value() < 0.05) == (exact < 0.05), (wins, losses, exact, found)
            shown += excludes
            kept_back += not excludes and found.low == 0
    assert shown > 100
    assert kept_back > 10, "some of them are those on which the two would disagree"


def test_the_reverse_of_a_comparison_says_the_reverse_near_zero() -> None:
    wins, losses = 17, 6
    ours, theirs = planted(300, wins, losses), planted(300, losses, wins)
    assert 0.03 < (ours.mcnemar or 0) < 0.05
    for confidence in (0.95, 0.97):
        a, b = ours.interval(confidence), theirs.interval(confidence)
        assert (a.low, a.high) == pytest.approx((-b.high, -b.low))
    assert ours.interval(0.97).low == 0.0 < ours.interval(0.95).low
    assert ours.p_value(0.01) >= ours.p_value(0.0) >= ours.p_value(-0.01)


def test_paired_difference_is_signed_and_uses_the_pairing() -> None:
    base = [i % 2 for i in range(100)]
    better = [1 if i < 20 else value for i, value in enumerate(base)]
    found = paired_difference(better, base)
    assert found.value == pytest.approx(0.1)
    assert found.low > 0
    reverse = paired_difference(base, better)
    assert (reverse.value, reverse.low, reverse.high) == pytest.approx((-found.value, -found.high, -found.low))
    # The same two rates without the pairing are far from different.
    assert rate(sum(better), 100).low < rate(sum(base), 100).high


def test_paired_difference_without_certainty() -> None:
    same = paired_difference([1, 0] * 50, [1, 0] * 50)
    assert same.value == 0
    assert same.low < 0 < same.high
    assert paired_difference([1], [0]).low < 0
    assert paired_difference([1] * 3, [0] * 3).low < 0 < paired_difference([1] * 6, [0] * 6).low


def test_paired_difference_of_scores_that_are_no_rates() -> None:
    rng = np.random.default_rng(2)
    a = rng.uniform(size=200)
    found = paired_difference(a + 0.1 + rng.normal(0, 0.05, 200), a)
    assert found.low > 0.08
    assert found.high < 0.12


def test_unpaired_scores_are_an_error() -> None:
    with pytest.raises(LapidarError, match="2 scores can't be paired with 1"):
        paired_difference([1, 0], [1])
    with pytest.raises(LapidarError, match="no items"):
        paired_difference([], [])


@pytest.fixture(scope="module")
def skewed() -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(4)
    return list(rng.exponential(size=80)), list(rng.exponential(size=80) * 0.6)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.995])
def test_the_bootstrap_is_scipys(skewed: tuple[list[float], list[float]], confidence: float) -> None:
    a, b = skewed
    differences = np.array(a) - np.array(b)
    expected = bootstrap((differences,), np.mean, n_resamples=20_000, method="BCa", confidence_level=confidence, rng=1)
    found = Pairing(a, b).bootstrap(confidence)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval, abs=0.03)


def test_resampling_by_counts_is_resampling() -> None:
    """Scores of 0 and 1 take the short way; jittered by nothing worth mentioning they take the long one."""
    a, b = [1.0] * 70 + [0.0] * 130, [0.0] * 20 + [1.0] * 50 + [1.0] * 15 + [0.0] * 115
    short = Pairing(a, b).bootstrap()
    long = Pairing(list(np.array(a) + np.arange(200) * 1e-12), b).bootstrap()
    assert (short.low, short.high) == pytest.approx((long.low, long.high), abs=0.006)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_a_p_value_is_the_level_at_which_the_interval_meets_the_null_value(
    skewed: tuple[list[float], list[float]], confidence: float
) -> None:
    rates = ([1.0] * 60 + [0.0] * 340, [0.0] * 30 + [1.0] * 45 + [0.0] * 325)
    for pairing in (Pairing(*skewed), Pairing(*rates)):
        found = pairing.interval(confidence)
        for end in (found.low, found.high):
            assert pairing.p_value(end) == pytest.approx(1 - confidence, abs=3e-3)


def test_everything_about_one_comparison_stands_in_one_record() -> None:
    a, b = [1.0] * 30 + [0.0] * 70, [0.0] * 20 + [1.0] * 10 + [1.0] * 5 + [0.0] * 65
    found = pair(a, b)
    assert (found.wins, found.losses, found.difference.n, found.bootstrap.n) == (20, 5, 100, 100)
    assert found.mcnemar == mcnemar(a, b)
    assert found.difference.value == found.bootstrap.value == pytest.approx(0.15)
    assert (found.bootstrap.low, found.bootstrap.high) == pytest.approx((found.difference.low, found.difference.high), abs=0.02)
    assert (found.confidence, found.family, found.adjusted) == (0.95, 1, found.p)
    assert found.detectable == pytest.approx(0.14, abs=0.02)
    assert pair([0.5, 0.7, 0.1], [0.4, 0.2, 0.3]).mcnemar is None


def test_equal_differences_are_shown_by_their_number_only() -> None:
    few, many = pair([0.5] * 9, [0.25] * 9), pair([0.5] * 30, [0.25] * 30)
    assert few.difference.low < 0 < few.difference.high
    assert few.p == pytest.approx(2 * 0.8**9)  # a fifth at -1 takes 0.25 to zero
    assert 0 < many.difference.low < 0.25 < many.difference.high
    same = pair([0.5] * 9, [0.5] * 9)
    assert same.difference.low < 0 < same.difference.high
    assert same.p == 1


@pytest.mark.parametrize("step", [0.0, 1.0, -2.0])
def test_equal_differences_of_ratings_have_an_interval_and_its_p_value(step: float) -> None:
    pairing = Pairing([5.0 + step] * 40, [5.0] * 40, bounds=(1.0, 10.0))
    for confidence in (0.8, 0.95, 0.999):
        found = pairing.interval(confidence)
        assert -9 < found.low < step < found.high < 9
        assert [pairing.p_value(end) for end in (found.low, found.high)] == pytest.approx([1 - confidence] * 2)


def test_differences_that_are_equal_but_for_rounding_have_an_interval() -> None:
    found = pair([0.7, 0.8, 0.4] * 4, [0.6, 0.7, 0.3] * 4)
    assert found.difference.high - found.difference.low > 0.1


def test_where_scores_lie_outside_0_to_1_without_bounds_what_is_seen_counts() -> None:
    assert pair([7.0] * 9, [7.0] * 9).difference.high > 1


def planted(n: int, wins: int, losses: int) -> Pairing:
    return Pairing([1.0] * wins + [0.0] * (n - wins), [0.0] * wins + [1.0] * losses + [0.0] * (n - wins - losses))


def test_holm_corrects_intervals_and_p_values_alike() -> None:
    pairings = {"sure": planted(400, 60, 10), "weak": planted(400, 30, 15), "none": planted(400, 20, 20)}
    alone = {name: family({name: each})[name] for name, each in pairings.items()}
    assert alone["weak"].difference.low > 0
    found = family(pairings)
    assert {name: each.confidence for name, each in found.items()} == {
        "sure": pytest.approx(1 - 0.05 / 3),
        "weak": pytest.approx(0.975),
        "none": pytest.approx(0.975),
    }
    assert list(found) == list(pairings)
    assert found["sure"].difference.low > 0
    assert found["weak"].difference.low < 0, "it was one of three"
    assert found["weak"].adjusted == pytest.approx(2 * alone["weak"].p)
    for each in found.values():
        assert (each.adjusted < 0.05) == (not each.difference.low <= 0 <= each.difference.high)
        assert each.family == 3


def test_among_many_benchmarks_without_a_difference_one_is_seldom_called_different() -> None:
    rng, families, false = np.random.default_rng(6), 120, {"corrected": 0, "each alone": 0}
    for _ in range(families):
        pairings = {i: planted(300, won, lost) for i, (won, lost, _) in enumerate(rng.multinomial(300, [0.1, 0.1, 0.8], size=10))}
        found = family(pairings).values()
        false["each alone"] += min(each.p for each in found) < 0.05
        false["corrected"] += any(not each.difference.low <= 0 <= each.difference.high for each in found)
    assert false["each alone"] / families > 0.2  # of ten tests, each exact and so below its 5 %
    assert false["corrected"] / families < 0.08


def test_a_margin_is_tested_instead_of_zero() -> None:
    pairing = planted(400, 60, 10)
    assert family({0: pairing}, null=0.05)[0].adjusted < 0.05
    assert family({0: pairing}, null=0.1)[0].adjusted > 0.05
    assert pairing.p_value(0.125) == pytest.approx(2 * norm.sf(0), abs=0.05)
