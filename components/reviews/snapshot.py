"""What people said until now as one file that is never changed again: datasets are built from it, not from the database.

``<home>/feedback/<sha256>.jsonl``, named by its own content: the same votes give the same file, and a dataset that names it can
be built again when there are more. Reviewers are pseudonyms in it. Samples::

    {"kind": "vote", "id": 7, "reviewer": "reviewer-…", "prompt": 3, "text": "…", "choice": "a", "seconds": 4.2,
     "a": {"model": "models:/m/1", "version": "models:/m/1", "digest": "…", "answer": "…"}, "b": {…}}
    {"kind": "thumb", "id": 9, "reviewer": "reviewer-…", "messages": [{"role": "user", "content": "…"}], "value": 1, "text": "",
     "about": {"model": "…", "version": "…", "digest": "…", "answer": "…"}}
    {"kind": "edit", "id": 10, …, "value": 0, "text": "the answer as it should have been"}

Where the answer used tools there are also ``turn``, the calls and results on the way to it, and ``tools``, what it was offered.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.errors import InputError
from components.reviews.opened import opened, pseudonym, secret
from components.reviews.standing import Contender, Vote, votes
from components.settings import Settings

if TYPE_CHECKING:
    from components.database.review_models import FeedbackRow

FOLDER = "feedback"
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Remark:
    """A thumb on an answer, or the answer as it should have been.

    Attributes:
        messages: what stands before the answer, as role and content.
        value: 1 or -1 for a thumb.
        text: the edited answer.
        turn: calls of tools and their results between question and answer; None where there were some that nobody kept.
        tools: what the model was offered, as OpenAI's API describes it.
    """

    kind: Literal["thumb", "edit"]
    id: int
    reviewer: str
    messages: list[dict[str, str]]
    about: Contender
    value: int
    text: str
    turn: list[dict[str, Any]] | None = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """All that people said, as it was when the snapshot was taken."""

    votes: list[Vote]
    remarks: list[Remark]


def said(settings: Settings) -> Said:
    """Votes, thumbs and edited answers that count, reviewers by their pseudonyms."""
    database = opened(settings)
    with database.read() as session:
        salt = secret(session)
    found = [replace(vote, reviewer=pseudonym(vote.reviewer, salt)) for vote in votes(database)]
    return Said(found, [replace(each, reviewer=pseudonym(each.reviewer, salt)) for each in _remarks(settings)])


def _remarks(settings: Settings) -> list[Remark]:
    from sqlalchemy import select

    from components.database.review_models import FeedbackRow, MessageRow
    from components.reviews.feedback import newest

    with opened(settings).read() as session:
        rows = [row for row in newest(session, FeedbackRow.kind.in_(("thumb", "edit"))) if row.value or row.text]
        lost = select(MessageRow.id).where(MessageRow.details.contains('"steps": [', autoescape=True))
        used = set(session.scalars(lost))  # before the turn was kept, feedback had the question alone
        return [_kept(row, row.message in used) for row in rows]


def _kept(row: FeedbackRow, used_tools: bool) -> Remark:
    prompt = json.loads(row.prompt)
    if isinstance(prompt, list):
        prompt = {"messages": prompt, "turn": None if used_tools else []}
    about = Contender(row.model or "", row.version, row.digest, row.answer)
    kind: Any = row.kind
    turn, tools = prompt["turn"], prompt.get("tools", [])
    return Remark(kind, row.id, row.reviewer, prompt["messages"], about, row.value, row.text, turn, tools)


def take(settings: Settings) -> str:
    """Writes the snapshot of this moment, unless it is there; returns its sha256.

    Raises:
        InputError: if nobody has said anything yet.
    """
    found = said(settings)
    if not found.votes and not found.remarks:
        raise InputError("there is no vote and no feedback yet: vote in the arena or rate answers in the chat (`lapidar up`)")
    lines = [_vote_line(vote) for vote in found.votes] + [_remark_line(remark) for remark in found.remarks]
    content = b"".join(json.dumps(line, ensure_ascii=False, sort_keys=True).encode() + b"\n" for line in lines)
    digest = hashlib.sha256(content).hexdigest()
    path = path_of(settings, digest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(path)
    return digest


def path_of(settings: Settings, digest: str) -> Path:
    """Where a snapshot lies."""
    return settings.root / FOLDER / f"{digest}.jsonl"


def read(path: Path) -> Said:
    """A snapshot's content.

    Raises:
        InputError: if it isn't there, or isn't what its name says.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} isn't there; leave data.snapshot out to take what people have said until now") from error
    if hashlib.sha256(content).hexdigest() != path.stem:
        raise InputError(f"{path} isn't the snapshot that its name says; delete it and build the dataset again")
    lines = [json.loads(line) for line in content.split(b"\n") if line]
    found = [_vote(line) for line in lines if line["kind"] == "vote"]
    return Said(found, [_remark(line) for line in lines if line["kind"] != "vote"])


def _vote_line(vote: Vote) -> dict[str, Any]:
    line = asdict(vote)
    for name in ("at", "match"):
        del line[name]
    return {"kind": "vote", **line}


def _remark_line(remark: Remark) -> dict[str, Any]:
    """Without tools as if there were none: a snapshot of the same words stays the same."""
    return {name: value for name, value in asdict(remark).items() if name not in ("turn", "tools") or value != []}


def _vote(line: dict[str, Any]) -> Vote:
    rest = {name: value for name, value in line.items() if name not in ("kind", "a", "b")}
    return Vote(match="", at=_NO_TIME, a=Contender(**line["a"]), b=Contender(**line["b"]), **rest)


def _remark(line: dict[str, Any]) -> Remark:
    return Remark(**{**line, "about": Contender(**line["about"])})
