"""Self-consistency (Wang et al. 2022, arXiv:2203.11171): several sampled answers vote, what most of them say is the answer.

Answers are read as the benchmarks read them, so that a vote here means what ``maj@k`` means there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from components.artifacts import Estimate
from components.benchmarks._estimators import expected_majority, pass_at_k
from components.benchmarks._scorers import exact, math_verify, multiple_choice, numeric
from components.errors import InputError
from components.text import final_answer, number


@dataclass(frozen=True)
class Read:
    """What was read out of one answer.

    Attributes:
        value: in a form in which equal answers are equal; None if nothing could be read.
        right: whether it is the known answer; None where none is known.
    """

    value: str | None
    right: bool | None = None


@dataclass(frozen=True)
class Votes:
    """A vote among sampled answers.

    Attributes:
        reads: one an answer, in their order.
        counts: votes by value, most first; what couldn't be read has none.
        winners: values with most votes: several in a tie, none if nothing could be read.
        share: votes of a winner among all answers, with Clopper and Pearson's interval: how consistent the model is with itself.
        pass_at: k → probability that one of k answers is right; empty where the right answer isn't known.
        majority_at: k → probability that the majority of k answers is right; likewise.
    """

    reads: tuple[Read, ...]
    counts: dict[str, int]
    winners: tuple[str, ...]
    share: Estimate
    pass_at: dict[int, float]
    majority_at: dict[int, float]


def _statement(targets: Sequence[str], answer: str) -> tuple[bool, str | None]:
    """The number behind "the answer is", as the word problems and their reward read it."""
    found = final_answer(answer)
    return found is not None and found in {number(target) for target in targets}, found


READERS: dict[str, Callable[[Sequence[str], str], tuple[bool, str | None]]] = {
    "statement": _statement,
    "numeric": numeric,
    "math_verify": math_verify,
    "multiple_choice": lambda targets, answer: multiple_choice(targets or [""], answer),
    "exact": exact,
}
"""How an answer is read: (right answers, text) → (whether it is one of them, what was read)."""


def vote(texts: Sequence[str], reader: str, target: str | None = None) -> Votes:
    """Counts what the answers say.

    >>> found = vote(["The answer is 4.", "The answer is 4.", "The answer is 5.", "hm"], "statement", "4")
    >>> found.winners, found.counts, found.share.value, round(found.majority_at[3], 3)
    (('4',), {'4': 2, '5': 1}, 0.5, 0.75)

    Args:
        reader: a name in ``READERS``.
        target: the right answer, if it is known.

    Raises:
        InputError: for another reader, or no answers.
    """
    from components.statistics import rate

    if reader not in READERS:
        raise InputError(f"answers can't be read by {reader!r}; there are {', '.join(READERS)}")
    if not texts:
        raise InputError("a vote needs at least one answer")
    known = target is not None and target.strip() != ""
    targets = [target.strip()] if known and target is not None else []
    reads = []
    for text in texts:
        right, value = READERS[reader](targets, text)
        reads.append(Read(value, right if known else None))
    counts: dict[str, int] = {}
    for read in reads:
        if read.value is not None:
            counts[read.value] = counts.get(read.value, 0) + 1
    counts = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    most = max(counts.values(), default=0)
    winners = tuple(value for value, votes in counts.items() if votes == most)
    ks = range(1, len(texts) + 1) if known else ()
    judged = [(read.value, bool(read.right)) for read in reads]
    good = sum(right for _, right in judged)
    return Votes(
        tuple(reads),
        counts,
        winners,
        rate(most, len(texts)),
        {k: pass_at_k(len(texts), good, k) for k in ks},
        {k: expected_majority(judged, k) for k in ks},
    )
