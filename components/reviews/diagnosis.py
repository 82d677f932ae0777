"""Says in words which reviewer votes as if by chance, with the numbers that show it. Who votes with care gets no finding.

As for judges: a finding needs an effect that chance hardly makes, and one large enough to matter. Agreement is with what most of
the *others* say of the same prompts; where these don't agree among each other, nobody can be held against them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from components.errors import LapidarError
from components.reviews.standing import Verdict, Vote, agreement_of, majority

LEAST_VOTES = 20
_P = 0.001
_HARDLY = 0.2  # Cohen's kappa: below it agreement is "slight" (Landis and Koch 1977)
_SAME = 0.9
_FAST = 1.0  # seconds in which nobody reads two answers


@dataclass(frozen=True)
class Finding:
    """One fault of one reviewer.

    Attributes:
        name: ``chance``, ``side``, ``same`` or ``fast``.
        text: what was seen, in numbers.
    """

    reviewer: str
    name: str
    text: str


def diagnose(votes: Sequence[Vote]) -> list[Finding]:
    """The findings, by reviewer, gravest first."""
    by_reviewer: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_reviewer[vote.reviewer].append(vote)
    found: list[Finding] = []
    for reviewer, theirs in sorted(by_reviewer.items()):
        if len(theirs) < LEAST_VOTES:
            continue
        said = {"chance": _chance(theirs, votes), "side": _side(theirs), "same": _same(theirs), "fast": _fast(theirs)}
        found += [Finding(reviewer, name, text) for name, text in said.items() if text]
    return found


def clickers(votes: Sequence[Vote]) -> set[str]:
    """Reviewers whose votes say nothing of the answers: by chance, by the side, or always the same."""
    return {finding.reviewer for finding in diagnose(votes) if finding.name != "fast"}


def _chance(theirs: Sequence[Vote], votes: Sequence[Vote]) -> str:
    """Agreement with the majority of the others: no more than slight, its whole interval, and theirs beyond chance."""
    from components.judges.agreement import agreement

    reviewer = theirs[0].reviewer
    others: dict[tuple[int, str, str], list[Verdict]] = defaultdict(list)
    for vote in votes:
        if vote.reviewer != reviewer:
            others[vote.subject].append(vote.verdict)
    shared = [(vote.verdict, majority(others[vote.subject])) for vote in theirs if vote.subject in others]
    if len(shared) < LEAST_VOTES or not _others_agree([vote for vote in votes if vote.reviewer != reviewer]):
        return ""
    kappa = agreement([mine for mine, _ in shared], [theirs for _, theirs in shared]).kappa
    if kappa.low > 0 or kappa.high >= 2 * _HARDLY or kappa.value >= _HARDLY:
        return ""
    return (
        f"agrees with the others no more than chance would: κ {kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}] "
        f"over {kappa.n} votes on prompts that others voted on too"
    )


def _others_agree(votes: Sequence[Vote]) -> bool:
    """Whether the others agree with each other beyond chance; a single other can't be held against anybody."""
    try:
        return agreement_of(votes).low > 0
    except LapidarError:
        return False


def _side(theirs: Sequence[Vote]) -> str:
    """One side far more often than the other, although models stand on both alike."""
    from scipy.stats import binomtest

    counts = Counter(vote.choice for vote in theirs)
    a, b = counts["a"], counts["b"]
    if a + b < LEAST_VOTES or binomtest(a, a + b).pvalue >= _P or max(a, b) / (a + b) < _SAME:
        return ""
    return f"chose side {'A' if a > b else 'B'} in {max(a, b)} of {a + b} decided votes, whichever model stood there"


def _same(theirs: Sequence[Vote]) -> str:
    """The same answer to nearly everything, where it says nothing of the two."""
    counts = Counter(vote.choice for vote in theirs)
    choice, most = counts.most_common(1)[0]
    if choice in ("a", "b") or most / len(theirs) < _SAME:
        return ""
    return f"voted {choice.replace('_', ' ')} {most} times of {len(theirs)}"


def _fast(theirs: Sequence[Vote]) -> str:
    middle = median(vote.seconds for vote in theirs)
    return f"voted after {middle:.1f} s in the middle, faster than two answers are read" if middle < _FAST else ""
