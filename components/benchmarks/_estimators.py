"""pass@k and maj@k from n sampled answers to one item: exact expectations over all subsets of k of them.

Both are unbiased for the score of k fresh answers, where a subset's score itself would only be one draw of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import comb

from components.errors import LapidarError


def pass_at_k(n: int, right: int, k: int) -> float:
    """Probability that at least one of k answers, drawn without replacement from n, is right (Chen et al. 2021, eq. 1).

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 4), pass_at_k(4, 0, 4), round(pass_at_k(4, 1, 2), 3)
    (0.25, 1.0, 0.0, 0.5)

    Raises:
        LapidarError: if k isn't between 1 and n, or ``right`` not between 0 and n.
    """
    _check(n, k)
    if not 0 <= right <= n:
        raise LapidarError(f"{right} right answers of {n} can't be")
    return float(1 - Fraction(comb(n - right, k), comb(n, k)))


def expected_majority(answers: Sequence[tuple[str | None, bool]], k: int) -> float:
    """Probability that the answer which most of k, drawn without replacement, agree on is right (self-consistency).

    A tie between answers is broken by lot, so a right answer tied with one other counts one half. What couldn't be read
    (None) has no vote; k answers of which none could be read are wrong.

    >>> expected_majority([("7", True), ("7", True), ("8", False)], 3), expected_majority([("7", True), ("8", False)], 2)
    (1.0, 0.5)
    >>> expected_majority([("7", True), (None, False)], 2)
    1.0

    Args:
        answers: what was read out of each answer, and whether it is right.
        k: votes.

    Raises:
        LapidarError: if k isn't between 1 and the number of answers.
    """
    _check(len(answers), k)
    right, wrong, silent = dict[str, int](), dict[str, int](), 0
    for answer, ok in answers:
        if answer is None:
            silent += 1
        else:  # an answer that is judged right once and wrong once (text around it) votes as two
            side = right if ok else wrong
            side[answer] = side.get(answer, 0) + 1
    sizes = [*right.values(), *wrong.values()]
    total = Fraction(0)
    for index in range(len(right)):
        others = sizes[:index] + sizes[index + 1 :]
        for votes in range(1, min(sizes[index], k) + 1):
            total += comb(sizes[index], votes) * _not_above(others, silent, votes, k - votes)
    return float(total / comb(len(answers), k))


def _not_above(sizes: Sequence[int], silent: int, most: int, left: int) -> Fraction:
    """Weighted number of ways to draw ``left`` of the other answers so that none has more than ``most`` votes.

    Each way weighs one over the number of answers that share the lead, the one that was counted before among them.
    """
    ways = {(0, 1): 1}  # (drawn, answers in the lead) → number of ways
    for size in sizes:
        grown: dict[tuple[int, int], int] = {}
        for (drawn, lead), count in ways.items():
            for votes in range(min(size, most, left - drawn) + 1):
                state = (drawn + votes, lead + (votes == most))
                grown[state] = grown.get(state, 0) + count * comb(size, votes)
        ways = grown
    return sum((Fraction(count * comb(silent, left - drawn), lead) for (drawn, lead), count in ways.items()), Fraction(0))


def _check(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise LapidarError(f"k={k} can't be estimated from {n} answers; it lies between 1 and their number")
