"""What the votes say: a ranking of the models, how far reviewers agree, and who votes as if by chance."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from components.artifacts import Estimate
from components.database.review_models import ArenaAnswer, ArenaMatch, ArenaPrompt, ArenaVote
from components.reviews.opened import Place, opened, utc

if TYPE_CHECKING:
    from components.judges.bradley_terry import Ranking

Verdict = Literal["first", "second", "tie", "both_bad"]


@dataclass(frozen=True)
class Contender:
    """A model and what it answered.

    Attributes:
        system: the system prompt that it was asked under; empty for none.
    """

    model: str
    version: str | None
    digest: str | None
    answer: str
    system: str = ""


@dataclass(frozen=True)
class Vote:
    """A vote that counts, and all that it was about.

    Attributes:
        id: of the vote's row.
        a, b: as the reviewer saw them.
        choice: ``a``, ``b``, ``tie`` or ``both_bad``.
    """

    id: int
    match: str
    reviewer: str
    prompt: int
    text: str
    a: Contender
    b: Contender
    choice: Literal["a", "b", "tie", "both_bad"]
    seconds: float
    at: datetime

    @property
    def pair(self) -> tuple[str, str]:
        """Both models by name, whatever their sides."""
        first, second = sorted((self.a.model, self.b.model))
        return first, second

    @property
    def subject(self) -> tuple[int, str, str]:
        """What the vote is about: votes with the same subject may agree."""
        return (self.prompt, *self.pair)

    @property
    def verdict(self) -> Verdict:
        """The choice by model instead of by side: ``first`` is the first of ``pair``."""
        if self.choice in ("tie", "both_bad"):
            return self.choice
        chosen = self.a if self.choice == "a" else self.b
        return "first" if chosen.model == self.pair[0] else "second"


def votes(place: Place, models: Sequence[str] | None = None) -> list[Vote]:
    """The votes that count, by match, oldest first.

    Args:
        models: only votes between two of these.
    """
    a, b = aliased(ArenaAnswer), aliased(ArenaAnswer)
    newest = select(func.max(ArenaVote.id)).group_by(ArenaVote.match)
    query = (
        select(ArenaVote, ArenaMatch, ArenaPrompt, a, b)
        .join(ArenaMatch, ArenaVote.match == ArenaMatch.id)
        .join(ArenaPrompt, ArenaMatch.prompt == ArenaPrompt.id)
        .join(a, (a.prompt == ArenaPrompt.id) & (a.model == ArenaMatch.a))
        .join(b, (b.prompt == ArenaPrompt.id) & (b.model == ArenaMatch.b))
        .where(ArenaVote.id.in_(newest))
        .order_by(ArenaVote.id)
    )
    if models is not None:
        query = query.where(ArenaMatch.a.in_(models), ArenaMatch.b.in_(models))
    with opened(place).read() as session:
        return [_vote(*row) for row in session.execute(query)]


def ranking(place: Place, models: Sequence[str] | None = None, seed: int = 0) -> Ranking:
    """Models by Bradley–Terry strength with intervals; both bad counts as a tie: neither was better.

    Raises:
        LapidarError: if there is no vote, or models are in groups that never met.
    """
    return ranking_of(votes(place, models), seed)


def ranking_of(found: Sequence[Vote], seed: int = 0) -> Ranking:
    """``ranking`` of given votes."""
    from components.judges.bradley_terry import Meeting, rank

    outcomes: dict[str, Any] = {"a": "a", "b": "b", "tie": "tie", "both_bad": "tie"}
    return rank([Meeting(str(v.prompt), v.a.model, v.b.model, outcomes[v.choice]) for v in found], seed)


def agreement(place: Place, models: Sequence[str] | None = None, seed: int = 0) -> Estimate:
    """Krippendorff's alpha (nominal) between reviewers over the four verdicts, with a bootstrap interval over prompts.

    Raises:
        LapidarError: if no two reviewers voted on the same prompt and pair.
    """
    return agreement_of(votes(place, models), seed)


def agreement_of(found: Sequence[Vote], seed: int = 0) -> Estimate:
    """``agreement`` of given votes."""
    from components.reviews.krippendorff import alpha

    return alpha(list(by_subject(found).values()), seed)


def by_subject(found: Sequence[Vote]) -> Mapping[tuple[int, str, str], list[Verdict]]:
    """Verdicts by what they are about."""
    units: dict[tuple[int, str, str], list[Verdict]] = defaultdict(list)
    for vote in found:
        units[vote.subject].append(vote.verdict)
    return units


def majority(verdicts: Sequence[Verdict]) -> Verdict:
    """What most say; where two are said equally often, it is a tie."""
    (first, most), *rest = Counter(verdicts).most_common(2)
    return "tie" if rest and rest[0][1] == most else first


def _vote(vote: ArenaVote, match: ArenaMatch, prompt: ArenaPrompt, a: ArenaAnswer, b: ArenaAnswer) -> Vote:
    choice: Any = vote.choice
    return Vote(
        vote.id,
        match.id,
        match.reviewer,
        prompt.id,
        prompt.text,
        _contender(a),
        _contender(b),
        choice,
        vote.seconds,
        utc(vote.created_at),
    )


def _contender(answer: ArenaAnswer) -> Contender:
    system = str(json.loads(answer.settings).get("system") or "")
    return Contender(answer.model, answer.version, answer.digest, answer.text, system.strip())
