"""Conversations: kept, branched by editing, shared by a link. A conversation is its owner's; a share token lets others read it.

Messages form a tree. ``head`` is the last message of the branch that is shown; editing a message or asking again adds a
sibling, and ``choose`` goes to another branch.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy.orm import Session

from components.database.base import now
from components.database.review_models import ConversationRow, MessageRow
from components.errors import InputError
from components.reviews.opened import LONGEST_NAME, Place, named, opened, utc

Role = Literal["system", "user", "assistant", "tool"]
_LONGEST_TITLE = 80


@dataclass(frozen=True)
class Said:
    """A model that said something: its name, and the version and digest that the server named."""

    model: str
    version: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Message:
    """A message of the branch that is shown.

    Attributes:
        parent: id of the message that it follows; None for the first.
        said: the model, for an answer.
        details: settings, usage, seconds.
        siblings: ids of all messages in this place, in the order in which they came; more than one means branches.
    """

    id: int
    parent: int | None
    role: Role
    content: str
    said: Said | None
    details: dict[str, Any]
    at: datetime
    siblings: tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """A conversation in a list."""

    id: str
    title: str
    shared: bool
    updated: datetime


@dataclass(frozen=True)
class Conversation:
    """A conversation with the branch that is shown.

    Attributes:
        share: the token by which others read it, or None. In a shared reading it is None too.
    """

    id: str
    owner: str
    title: str
    settings: dict[str, Any]
    share: str | None
    messages: list[Message] = field(default_factory=list)

    def chat(self) -> list[dict[str, str]]:
        """The messages as a server takes them."""
        return [{"role": message.role, "content": message.content} for message in self.messages]


def create(place: Place, owner: str, title: str = "", settings: Mapping[str, Any] | None = None) -> str:
    """Begins a conversation; returns its id. Without a title the first question becomes it."""
    row = ConversationRow(
        id=secrets.token_urlsafe(16), owner=named(owner), title=title.strip()[:LONGEST_NAME], settings=_json(settings), head=None
    )
    with opened(place).write() as session:
        session.add(row)
        return row.id


def append(
    place: Place,
    owner: str,
    conversation: str,
    role: Role,
    content: str,
    *,
    said: Said | None = None,
    details: Mapping[str, Any] | None = None,
    after: int | None = None,
) -> int:
    """Adds a message behind the branch that is shown, or behind the message ``after``: a new branch. Returns its id.

    Raises:
        InputError: if there is no such conversation of this owner, no such message in it, or no such role.
    """
    with opened(place).write() as session:
        row = _own(session, owner, conversation)
        parent = row.head if after is None else _message(session, row, after).id
        return _add(session, row, parent, role, content, said, details)


def edit(place: Place, owner: str, conversation: str, message: int, content: str, said: Said | None = None) -> int:
    """Adds another message in the place of one, which stays as a branch of its own. Returns its id.

    Raises:
        InputError: as ``append``.
    """
    with opened(place).write() as session:
        row = _own(session, owner, conversation)
        old = _message(session, row, message)
        return _add(session, row, old.parent, old.role, content, said, None)


def choose(place: Place, owner: str, conversation: str, message: int) -> None:
    """Shows the branch on which a message lies, down to its newest end.

    Raises:
        InputError: as ``append``.
    """
    with opened(place).write() as session:
        row = _own(session, owner, conversation)
        here = _message(session, row, message).id
        children = _children(_rows(session, conversation))
        while follow := children.get(here):
            here = follow[-1].id
        row.head = here


def configure(
    place: Place, owner: str, conversation: str, title: str | None = None, settings: Mapping[str, Any] | None = None
) -> None:
    """Changes a conversation's title or settings.

    Raises:
        InputError: if there is no such conversation of this owner.
    """
    with opened(place).write() as session:
        row = _own(session, owner, conversation)
        if title is not None:
            row.title = title.strip()[:LONGEST_NAME]
        if settings is not None:
            row.settings = _json(settings)


def delete(place: Place, owner: str, conversation: str) -> None:
    """Deletes a conversation with its messages; feedback on them stays.

    Raises:
        InputError: if there is no such conversation of this owner.
    """
    with opened(place).write() as session:
        row = _own(session, owner, conversation)
        session.execute(sql_delete(ConversationRow).where(ConversationRow.id == row.id))


def listed(place: Place, owner: str, limit: int = 100) -> list[Summary]:
    """Somebody's conversations, the one that was last written to first."""
    query = select(ConversationRow).filter_by(owner=owner).order_by(ConversationRow.updated_at.desc()).limit(limit)
    with opened(place).read() as session:
        return [Summary(row.id, row.title, row.share is not None, utc(row.updated_at)) for row in session.scalars(query)]


def load(place: Place, owner: str, conversation: str) -> Conversation:
    """A conversation of one's own.

    Raises:
        InputError: if there is no such conversation of this owner.
    """
    with opened(place).read() as session:
        row = _own(session, owner, conversation, lock=False)
        return _conversation(session, row, row.share)


def share(place: Place, owner: str, conversation: str) -> str:
    """The token of a link by which others read the conversation as it is and will be; the same one each time.

    Raises:
        InputError: if there is no such conversation of this owner.
    """
    with opened(place).write() as session:
        row = _own(session, owner, conversation)
        row.share = row.share or secrets.token_urlsafe(32)
        return row.share


def unshare(place: Place, owner: str, conversation: str) -> None:
    """Makes the link useless; a new one is another one.

    Raises:
        InputError: if there is no such conversation of this owner.
    """
    with opened(place).write() as session:
        _own(session, owner, conversation).share = None


def load_shared(place: Place, token: str) -> Conversation:
    """A conversation by its share token.

    Raises:
        InputError: if no conversation is shared by it.
    """
    with opened(place).read() as session:
        row = session.scalars(select(ConversationRow).where(ConversationRow.share == token)).one_or_none()
        if row is None:
            raise InputError("nothing is shared by this link; ask its owner for a new one")
        return _conversation(session, row, None)


def _own(session: Session, owner: str, conversation: str, lock: bool = True) -> ConversationRow:
    query = select(ConversationRow).filter_by(id=conversation, owner=owner)
    row = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise InputError(f"{owner} has no conversation {conversation!r}; it was deleted, or it is somebody else's")
    return row


def _message(session: Session, row: ConversationRow, message: int) -> MessageRow:
    found = session.scalars(select(MessageRow).filter_by(id=message, conversation=row.id)).one_or_none()
    if found is None:
        raise InputError(f"the conversation {row.id!r} has no message {message}")
    return found


def _add(
    session: Session,
    row: ConversationRow,
    parent: int | None,
    role: str,
    content: str,
    said: Said | None,
    details: Mapping[str, Any] | None,
) -> int:
    if role not in get_args(Role):
        raise InputError(f"{role!r} is no role; roles are {', '.join(get_args(Role))}")
    who = said or Said("")
    message = MessageRow(
        conversation=row.id, parent=parent, role=role, content=content, model=who.model or None, version=who.version,
        digest=who.digest, details=_json(details),
    )  # fmt: skip
    session.add(message)
    session.flush()
    row.head, row.updated_at = message.id, now()
    if not row.title and role == "user":
        row.title = " ".join(content.split())[:_LONGEST_TITLE]
    return message.id


def _conversation(session: Session, row: ConversationRow, token: str | None) -> Conversation:
    messages = branch(_rows(session, row.id), row.head)
    return Conversation(row.id, row.owner, row.title, json.loads(row.settings), token, messages)


def _rows(session: Session, conversation: str) -> list[MessageRow]:
    return list(session.scalars(select(MessageRow).filter_by(conversation=conversation).order_by(MessageRow.id)))


def branch(rows: Sequence[MessageRow], head: int | None) -> list[Message]:
    """The messages from the first to ``head``."""
    by_id, children = {row.id: row for row in rows}, _children(rows)
    found: list[Message] = []
    while head is not None:
        row = by_id[head]
        siblings = tuple(each.id for each in children[row.parent])
        said = Said(row.model, row.version, row.digest) if row.model else None
        role: Any = row.role
        details = json.loads(row.details)
        found.append(Message(row.id, row.parent, role, row.content, said, details, utc(row.created_at), siblings))
        head = row.parent
    return found[::-1]


def _children(rows: Sequence[MessageRow]) -> dict[int | None, list[MessageRow]]:
    found: dict[int | None, list[MessageRow]] = {}
    for row in rows:
        found.setdefault(row.parent, []).append(row)
    return found


def _json(content: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(content or {}), ensure_ascii=False, sort_keys=True)
