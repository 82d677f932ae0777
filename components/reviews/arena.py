"""Blind matches: two models' answers to one prompt, side by side, names only after the vote.

What a client may see before the vote is a ``Match``: an id that is random, the prompt, two answers. Which model stands on which
side stays in the database; ``models_of`` is for the process that asks the models, never for a page. The flow::

    match = next_match(settings, "ada", ["models:/m/1", "models:/m/2"])
    for side, model in models_of(settings, match.id).missing():       # at first, both
        answer(settings, match.id, side, Answer(text, version, digest))
    match = shown(settings, match.id, "ada")                             # now with answers
    revealed = vote(settings, match.id, "a", "ada", seconds=4.2)

Who stands where is drawn by ``components.reviews.drawing``.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from components.data.separate import normalised
from components.database.review_models import ArenaAnswer, ArenaMatch, ArenaPrompt, ArenaVote
from components.errors import InputError
from components.reviews import drawing
from components.reviews.opened import LONGEST_NAME, Place, named, opened, secret
from components.reviews.standing import agreement as agreement
from components.reviews.standing import ranking as ranking

Choice = Literal["a", "b", "tie", "both_bad"]
Side = Literal["a", "b"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


class AlreadyVoted(InputError):
    """Another vote than the one that was given: it takes ``correct``, with a reason."""


@dataclass(frozen=True)
class Match:
    """What a reviewer sees before the vote.

    Attributes:
        a, b: the answers; None until somebody has asked the models.
    """

    id: str
    prompt: str
    a: str | None
    b: str | None

    @property
    def ready(self) -> bool:
        """Whether both answers are there."""
        return self.a is not None and self.b is not None


@dataclass(frozen=True)
class Sides:
    """Which model stands where, and the answers that are there. Never for a client."""

    prompt: str
    models: dict[Side, str]
    answered: dict[Side, str]

    def missing(self) -> list[tuple[Side, str]]:
        """Sides whose model has yet to be asked."""
        return [(side, model) for side, model in self.models.items() if side not in self.answered]


@dataclass(frozen=True)
class Answer:
    """What a model said, which version of it, and how it was sampled."""

    text: str
    version: str | None = None
    digest: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Revealed:
    """A match after the vote: the models by side, and the vote that counts."""

    a: str
    b: str
    choice: Choice


def add_prompts(place: Place, texts: Sequence[str], author: str, origin: Literal["queue", "free"] = "queue") -> list[int]:
    """Adds prompts to the queue, in their order; returns their ids. A prompt that is there already isn't added again.

    Raises:
        InputError: if a text is blank.
    """
    author = named(author)
    if blank := next((number for number, text in enumerate(texts, 1) if not text.strip()), None):
        raise InputError(f"prompt {blank} of {len(texts)} is blank; write a question or leave it out")
    with opened(place).write() as session:
        secret(session, lock=True)
        return [_prompt(session, text, author, origin) for text in texts]


def waiting(place: Place, reviewer: str) -> int:
    """How many prompts of the queue a reviewer has yet to vote on."""
    voted = exists().where(ArenaVote.match == ArenaMatch.id)
    done = select(ArenaMatch.prompt).where(ArenaMatch.reviewer == reviewer, voted)
    query = select(func.count()).select_from(ArenaPrompt).where(ArenaPrompt.active == 1, ArenaPrompt.id.not_in(done))
    with opened(place).read() as session:
        return int(session.scalar(query) or 0)


def next_match(place: Place, reviewer: str, models: Sequence[str], prompt: int | None = None) -> Match | None:
    """The reviewer's open match between two of these models, else a new one; None if no prompt is left.

    The first reviewer of a prompt gets the pair that has met least, later ones that same pair: so agreement can be measured.

    Args:
        models: two or more, each by a name that always means the same weights: ``models:/name/3`` or a folder, no alias.
        prompt: only this prompt, e.g. one that the reviewer typed (``add_prompts`` with ``origin="free"``).

    Raises:
        InputError: if fewer than two models are named, one by an alias, or the reviewer has voted on ``prompt`` already.
    """
    reviewer, known = named(reviewer), drawing.contenders(models)
    with opened(place).write() as session:
        salt = secret(session, lock=True)  # matches are drawn one after another: sides stay balanced, pairs as well
        open_match = _open(session, reviewer, known, prompt)
        if open_match is not None:
            return _shown(session, open_match)
        chosen = drawing.next_prompt(session, reviewer, prompt)
        if chosen is None:
            return None
        number = session.scalar(select(func.count()).select_from(ArenaMatch)) or 0
        pair = drawing.pair(session, chosen, known, drawing.draw(salt, "pair", number))
        a, b = drawing.seated(session, reviewer, pair, drawing.draw(salt, "side", number))
        row = ArenaMatch(id=secrets.token_urlsafe(16), reviewer=reviewer, prompt=chosen, a=a, b=b)
        session.add(row)
        session.flush()
        return _shown(session, row)


def shown(place: Place, match: str, reviewer: str) -> Match:
    """A reviewer's match with the answers that are there by now.

    Raises:
        InputError: if the match isn't this reviewer's.
    """
    with opened(place).read() as session:
        return _shown(session, _match(session, match, reviewer))


def models_of(place: Place, match: str) -> Sides:
    """Which models to ask for a match. For the process that asks them.

    Raises:
        InputError: if there is no such match.
    """
    with opened(place).read() as session:
        row = _match(session, match)
        sides: dict[Side, str] = {"a": row.a, "b": row.b}
        found = {side: answer.text for side, model in sides.items() if (answer := _answer(session, row.prompt, model)) is not None}
        return Sides(session.get_one(ArenaPrompt, row.prompt).text, sides, found)


def answer(place: Place, match: str, side: Side, said: Answer) -> str:
    """Keeps what the model of a side said, for all who meet it on this prompt; returns the text that counts.

    The first answer counts: where two reviewers had the model asked at once, both see the same one.

    Raises:
        InputError: if there is no such match or side.
    """
    if side not in get_args(Side):
        raise InputError(f"{side!r} is no side; sides are a and b")
    with opened(place).write() as session:
        secret(session, lock=True)
        row = _match(session, match)
        model = row.a if side == "a" else row.b
        known = _answer(session, row.prompt, model)
        if known is None:
            known = ArenaAnswer(
                prompt=row.prompt, model=model, version=said.version, digest=said.digest, text=said.text,
                settings=json.dumps(dict(said.settings), sort_keys=True),
            )  # fmt: skip
            session.add(known)
        return known.text


def vote(place: Place, match: str, choice: Choice, reviewer: str, seconds: float) -> Revealed:
    """Votes, once, and learns who was who. The same vote again changes nothing.

    Args:
        seconds: from the match's appearance to the vote.

    Raises:
        AlreadyVoted: if another vote was given before.
        InputError: if the match isn't this reviewer's, an answer is missing, or the choice is none.
    """
    if choice not in CHOICES:
        raise InputError(f"{choice!r} is no vote; votes are {', '.join(CHOICES)}")
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InputError(f"a vote took {seconds} seconds; it can't be less than none")
    with opened(place).write() as session:
        row = _match(session, match, reviewer, lock=True)
        if (last := _last_vote(session, match)) is not None:
            if last.choice != choice:
                raise AlreadyVoted(f"you voted {last.choice!r} on this match; a vote is changed with a reason, or not at all")
            return Revealed(row.a, row.b, choice)
        if not _shown(session, row).ready:
            raise InputError("an answer of this match is missing; there is nothing to vote on yet")
        session.add(ArenaVote(match=match, number=0, choice=choice, seconds=float(seconds), reason=""))
        return Revealed(row.a, row.b, choice)


def correct(place: Place, match: str, choice: Choice, reviewer: str, reason: str) -> Revealed:
    """Changes a vote, openly: the old one stays, with the reason beside the new one.

    Raises:
        InputError: if the match isn't this reviewer's or has no vote, the choice is none, or no reason is given.
    """
    if choice not in CHOICES:
        raise InputError(f"{choice!r} is no vote; votes are {', '.join(CHOICES)}")
    if not reason.strip():
        raise InputError("a vote is changed with a reason; say why")
    with opened(place).write() as session:
        row = _match(session, match, reviewer, lock=True)
        last = _last_vote(session, match)
        if last is None:
            raise InputError("there is no vote on this match to change; vote first")
        if last.choice != choice:
            after = {"number": last.number + 1, "choice": choice, "seconds": last.seconds, "reason": reason.strip()}
            session.add(ArenaVote(match=match, **after))
        return Revealed(row.a, row.b, choice)


def revealed(place: Place, match: str, reviewer: str) -> Revealed:
    """Who was who in a match that the reviewer has voted on.

    Raises:
        InputError: if the match isn't this reviewer's, or there is no vote yet.
    """
    with opened(place).read() as session:
        row, last = _match(session, match, reviewer), _last_vote(session, match)
        if last is None:
            raise InputError("names come after the vote; there is none on this match yet")
        choice: Any = last.choice
        return Revealed(row.a, row.b, choice)


def _prompt(session: Session, text: str, author: str, origin: str) -> int:
    digest = hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).hexdigest()
    known = session.scalars(select(ArenaPrompt).where(ArenaPrompt.digest == digest)).one_or_none()
    if known is None:
        known = ArenaPrompt(digest=digest, text=text.strip(), origin=origin, author=author[:LONGEST_NAME])
        session.add(known)
        session.flush()
    return known.id


def _open(session: Session, reviewer: str, models: Sequence[str], prompt: int | None) -> ArenaMatch | None:
    query = select(ArenaMatch).where(
        ArenaMatch.reviewer == reviewer,
        ArenaMatch.a.in_(models),
        ArenaMatch.b.in_(models),
        ~exists().where(ArenaVote.match == ArenaMatch.id),
    )
    if prompt is not None:
        query = query.where(ArenaMatch.prompt == prompt)
    return session.scalars(query.order_by(ArenaMatch.created_at).limit(1)).one_or_none()


def _match(session: Session, match: str, reviewer: str | None = None, lock: bool = False) -> ArenaMatch:
    query = select(ArenaMatch).where(ArenaMatch.id == match)
    row = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if row is None or (reviewer is not None and row.reviewer != reviewer.strip()):
        raise InputError(f"{reviewer or 'nobody'} has no match {match!r}; ask for the next one")
    return row


def _answer(session: Session, prompt: int, model: str) -> ArenaAnswer | None:
    return session.scalars(select(ArenaAnswer).filter_by(prompt=prompt, model=model)).one_or_none()


def _last_vote(session: Session, match: str) -> ArenaVote | None:
    query = select(ArenaVote).where(ArenaVote.match == match).order_by(ArenaVote.number.desc()).limit(1)
    return session.scalars(query).one_or_none()


def _shown(session: Session, row: ArenaMatch) -> Match:
    a, b = (_answer(session, row.prompt, model) for model in (row.a, row.b))
    text = session.get_one(ArenaPrompt, row.prompt).text
    return Match(row.id, text, a.text if a else None, b.text if b else None)
