"""pass@k and maj@k against all subsets, counted one by one."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from itertools import combinations
from typing import Any

import pytest

from components.benchmarks._estimators import expected_majority, pass_at_k
from components.benchmarks._task import GenerationConfig, Graded, scores_of
from components.errors import LapidarError

Answers = list[tuple[str | None, bool]]


def draws() -> list[Answers]:
    """Random lists of answers: some unread, the same text always right or always wrong, and once both."""
    rng = random.Random(0)
    found = []
    for n in range(1, 8):
        for _ in range(8):
            texts = [rng.choice(["7", "7", "8", "9", None]) for _ in range(n)]
            found.append([(text, text == "7") for text in texts])
    return [*found, [("7", True), ("7", False), ("7", True), ("8", False)], [("7", True), ("8", True), ("9", False)]]


def majority(votes: tuple[tuple[str | None, bool], ...]) -> Fraction:
    """Probability that the winner of one vote is right, ties broken by lot."""
    counted = Counter(vote for vote in votes if vote[0] is not None)
    if not counted:
        return Fraction(0)
    most = max(counted.values())
    leaders = [vote for vote, count in counted.items() if count == most]
    return Fraction(sum(right for _, right in leaders), len(leaders))


@pytest.mark.parametrize("answers", draws())
def test_both_are_means_over_all_subsets(answers: Answers) -> None:
    n, right = len(answers), sum(ok for _, ok in answers)
    for k in range(1, n + 1):
        subsets = list(combinations(answers, k))
        assert expected_majority(answers, k) == pytest.approx(float(sum(map(majority, subsets)) / len(subsets)), abs=1e-12)
        anyone = sum(any(ok for _, ok in subset) for subset in subsets) / len(subsets)
        assert pass_at_k(n, right, k) == pytest.approx(anyone, abs=1e-12)


def test_the_estimate_is_unbiased_where_pass_of_the_share_is_not() -> None:
    """Over all outcomes of n answers with success rate p its mean is 1 - (1 - p)^k; that of 1 - (1 - c/n)^k isn't."""
    from math import comb

    n, k, p = 6, 3, 0.3
    weights = [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    mean = sum(w * pass_at_k(n, c, k) for c, w in enumerate(weights))
    naive = sum(w * (1 - (1 - c / n) ** k) for c, w in enumerate(weights))
    assert mean == pytest.approx(1 - (1 - p) ** k)
    assert abs(naive - (1 - (1 - p) ** k)) > 0.02


def test_many_answers_are_counted_quickly() -> None:
    answers: Answers = [(str(i % 17), i % 17 == 3) for i in range(64)]
    assert 0 < expected_majority(answers, 64) <= 1
    assert 0 < expected_majority(answers, 32) < 1


@pytest.mark.parametrize("k", [0, 3])
def test_k_beyond_the_answers_is_refused(k: int) -> None:
    for call in (lambda: pass_at_k(2, 1, k), lambda: expected_majority([("7", True), ("8", False)], k)):
        with pytest.raises(LapidarError, match=rf"k={k} can't be estimated from 2 answers"):
            call()


def test_scores_of_an_item() -> None:
    graded = [Graded({"accuracy": 1.0, "strict": 0.0}, "7"), Graded({"accuracy": 0.0, "strict": 0.0}, None)]
    assert scores_of(graded, (1, 2)) == {
        "accuracy": 0.5, "strict": 0.0, "avg_at_2": 0.5,
        "pass_at_1": 0.5, "maj_at_1": 0.5, "pass_at_2": 1.0, "maj_at_2": 1.0,
    }  # fmt: skip
    assert scores_of(graded[:1]) == {"accuracy": 1.0, "strict": 0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 4}, "n=4 answers at temperature 0 are n times the same one"),
        ({"n": 4, "temperature": 1, "k": [5]}, "k=5 can't be estimated from n=4 answers"),
        ({"k": [2]}, "k=2 can't be estimated from n=1 answers"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationConfig(method="any", **settings)
    assert GenerationConfig(method="any", n=4, temperature=1).ks == (1, 4)
