"""What a new match is: which prompt, which two models, who stands where.

Sides follow Efron's biased coin (Biometrika 1971) per reviewer and pair: the side on which a model stood less often gets it
with probability 2/3. So sides stay balanced, and having seen the last names doesn't tell the next ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from components.database.review_models import ArenaMatch, ArenaPrompt
from components.errors import InputError

_FAIRER = 2 / 3
LONGEST_MODEL = 500


def contenders(models: Sequence[str]) -> list[str]:
    """The models that may meet, checked.

    Raises:
        InputError: if they are fewer than two, or one may change its meaning.
    """
    known = sorted(set(models))
    if len(known) < 2:
        raise InputError(f"a match needs two different models; {', '.join(known) or 'none'} was given")
    for model in known:
        if not model.strip() or len(model) > LONGEST_MODEL:
            raise InputError(f"a model's name has 1 to {LONGEST_MODEL} characters; this one has {len(model)}")
        if "@" in model:
            raise InputError(f"{model} may mean another version tomorrow; name the version, e.g. models:/name/3")
    return known


def next_prompt(session: Session, reviewer: str, prompt: int | None) -> int | None:
    """The first prompt that a reviewer hasn't met; None if there is none left.

    Args:
        prompt: only this one.

    Raises:
        InputError: if ``prompt`` isn't there, or was met.
    """
    met = exists().where(ArenaMatch.reviewer == reviewer, ArenaMatch.prompt == ArenaPrompt.id)
    if prompt is None:
        query = select(ArenaPrompt.id).where(ArenaPrompt.active == 1, ~met).order_by(ArenaPrompt.id).limit(1)
        return session.scalars(query).one_or_none()
    if session.scalars(select(ArenaPrompt.id).where(ArenaPrompt.id == prompt)).one_or_none() is None:
        raise InputError(f"there is no prompt {prompt} in the arena")
    if session.scalar(select(ArenaMatch.id).where(ArenaMatch.reviewer == reviewer, ArenaMatch.prompt == prompt)) is not None:
        raise InputError("you met this prompt before; each reviewer meets a prompt once, so write another one")
    return prompt


def pair(session: Session, prompt: int, models: Sequence[str], draw: float) -> tuple[str, str]:
    """The pair that others met on this prompt, else the one that has met least."""
    rows = session.execute(
        select(ArenaMatch.a, ArenaMatch.b, ArenaMatch.prompt == prompt).where(ArenaMatch.a.in_(models), ArenaMatch.b.in_(models))
    ).all()
    here, everywhere = dict.fromkeys(combinations(models, 2), 0), dict.fromkeys(combinations(models, 2), 0)
    for a, b, same in rows:
        pair = (min(a, b), max(a, b))
        everywhere[pair] += 1
        here[pair] += bool(same)
    order = sorted(everywhere, key=lambda pair: (-here[pair], everywhere[pair]))
    best = [pair for pair in order if (here[pair], everywhere[pair]) == (here[order[0]], everywhere[order[0]])]
    return best[int(draw * len(best))]


def seated(session: Session, reviewer: str, pair: tuple[str, str], draw: float) -> tuple[str, str]:
    """(model on side a, model on side b)."""
    first, second = pair
    query = select(ArenaMatch.a, func.count()).where(
        ArenaMatch.reviewer == reviewer, ArenaMatch.a.in_(pair), ArenaMatch.b.in_(pair)
    )
    stood: dict[str, int] = {model: count for model, count in session.execute(query.group_by(ArenaMatch.a))}
    ahead = stood.get(first, 0) - stood.get(second, 0)
    chance = 0.5 if ahead == 0 else 1 - _FAIRER if ahead > 0 else _FAIRER
    return (first, second) if draw < chance else (second, first)


def draw(salt: str, what: str, number: int) -> float:
    """A number in [0, 1) that follows from the database's secret and the match's number."""
    return int(hashlib.sha256(f"{salt}\0{what}\0{number}".encode()).hexdigest()[:13], 16) / 2**52
