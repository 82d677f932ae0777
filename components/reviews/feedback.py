"""Thumbs, comments and edited answers on messages. Rows are only ever added; the newest of a kind is what somebody says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from components import prompting
from components.chat_settings import ChatSettings
from components.database.review_models import FeedbackRow, MessageRow
from components.errors import InputError
from components.reviews.opened import Place, named, opened

Kind = Literal["thumb", "comment", "edit"]


@dataclass(frozen=True)
class Given:
    """What one reviewer says of one answer.

    Attributes:
        thumb: 1, -1, or 0 for none.
        comment: empty if there is none.
        edited: the answer as it should have been, or None.
    """

    thumb: int = 0
    comment: str = ""
    edited: str | None = None


def thumb(place: Place, reviewer: str, message: int, value: Literal[1, -1, 0]) -> None:
    """Thumb up (1), down (-1), or taken back (0).

    Raises:
        InputError: if there is no such answer, or another value is given.
    """
    if value not in (1, -1, 0):
        raise InputError(f"a thumb is 1, -1 or 0, not {value!r}")
    _add(place, reviewer, message, "thumb", value, "")


def comment(place: Place, reviewer: str, message: int, text: str) -> None:
    """A comment; an empty one takes it back.

    Raises:
        InputError: if there is no such answer.
    """
    _add(place, reviewer, message, "comment", 0, text.strip())


def edit(place: Place, reviewer: str, message: int, text: str) -> None:
    """The answer as it should have been; an empty one takes it back.

    Raises:
        InputError: if there is no such answer.
    """
    _add(place, reviewer, message, "edit", 0, text.strip())


def given(place: Place, reviewer: str, messages: Sequence[int]) -> dict[int, Given]:
    """What somebody said of messages, by their id; only those with feedback."""
    with opened(place).read() as session:
        rows = newest(session, FeedbackRow.reviewer == named(reviewer), FeedbackRow.message.in_(messages))
    found: dict[int, dict[str, FeedbackRow]] = {}
    for row in rows:
        found.setdefault(row.message, {})[row.kind] = row
    return {
        message: Given(
            kinds["thumb"].value if "thumb" in kinds else 0,
            kinds["comment"].text if "comment" in kinds else "",
            (kinds["edit"].text or None) if "edit" in kinds else None,
        )
        for message, kinds in found.items()
    }


def newest(session: Session, *where: object) -> list[FeedbackRow]:
    """The rows that count, oldest first: the newest of each message, reviewer and kind."""
    last = select(func.max(FeedbackRow.id)).group_by(FeedbackRow.message, FeedbackRow.reviewer, FeedbackRow.kind)
    query = select(FeedbackRow).where(FeedbackRow.id.in_(last), *where).order_by(FeedbackRow.id)  # type: ignore[arg-type]
    return list(session.scalars(query))


def _add(place: Place, reviewer: str, message: int, kind: Kind, value: int, text: str) -> None:
    """Adds a row, unless it would say what was said last."""
    reviewer = named(reviewer)
    with opened(place).write() as session:
        row = session.scalars(select(MessageRow).where(MessageRow.id == message).with_for_update()).one_or_none()
        if row is None or row.role != "assistant":
            raise InputError(f"message {message} is no answer of a model; feedback is for answers")
        key = {"message": message, "reviewer": reviewer, "kind": kind}
        last = session.scalars(select(FeedbackRow).filter_by(**key).order_by(FeedbackRow.id.desc()).limit(1)).one_or_none()
        if (last.value, last.text) == (value, text) if last is not None else (value, text) == (0, ""):
            return
        prompt = json.dumps(_prompt(row, _before(session, row)), ensure_ascii=False)
        session.add(
            FeedbackRow(
                **key,
                value=value,
                text=text,
                prompt=prompt,
                answer=row.content,
                model=row.model,
                version=row.version,
                digest=row.digest,
            )
        )


def _prompt(row: MessageRow, messages: list[dict[str, str]]) -> list[dict[str, str]] | dict[str, Any]:
    """What stands before the answer; where tools were used also what the model said to them and they to it."""
    details, asked = json.loads(row.details), _asked(row, messages)
    if not details.get("steps"):
        return asked
    kept = details.get("turn") or {}
    *turn, last = kept.get("messages") or [{}]
    known = turn and last.get("role") == "assistant" and not last.get("tool_calls") and last.get("content") == row.content
    return {"messages": asked, "turn": list(turn) if known else None, "tools": list(kept.get("tools") or [])}


def _asked(row: MessageRow, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """What the model was given: the messages with the system prompt, examples and request for steps of that answer's settings."""
    chosen = ChatSettings.kept(json.loads(row.details).get("settings") or {})
    return prompting.build(messages, chosen.system, prompting.examples(chosen.examples), chosen.steps)


def _before(session: Session, row: MessageRow) -> list[dict[str, str]]:
    """The messages that an answer follows, first one first."""
    found = []
    parent = row.parent
    while parent is not None:
        above = session.get_one(MessageRow, parent)
        found.append({"role": above.role, "content": above.content})
        parent = above.parent
    return found[::-1]
