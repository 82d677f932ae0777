"""Tables of the people who review: accounts, sign-ins, conversations, feedback, the arena, saved filters.

Votes and feedback are only ever added to (the database refuses the rest); the newest row of a subject is the one that counts.
Reviewers are named by the name that they log in with; an account isn't needed where another login (OIDC) says who they are.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from components.database.base import Base, now


class AccountRow(Base):
    """A local account.

    Attributes:
        name: as it is typed, case folded: nobody is two people by capitals.
        role: ``reviewer``, ``engineer`` or ``admin``.
        password: argon2id's encoded hash, parameters and salt included.
        failures: wrong passwords since the last right one.
        locked_until: seconds since 1970; before that moment no password is looked at.
    """

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("name", name="uq_accounts_name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(250))
    role: Mapped[str] = mapped_column(String(20))
    password: Mapped[str] = mapped_column(String(250))
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class SignInRow(Base):
    """A local account's sign-in: first a ticket, which a browser changes into a session at once and only once.

    Attributes:
        kind: ``ticket`` or ``session``.
        digest: sha256 of the random text that the browser holds; the text itself is never kept.
        until: seconds since 1970 from which on it is worth nothing.
    """

    __tablename__ = "sign_ins"
    __table_args__ = (UniqueConstraint("digest", name="uq_sign_ins_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    digest: Mapped[str] = mapped_column(String(64))
    until: Mapped[float] = mapped_column(Float)


class ReviewSecret(Base):
    """One row: a random text from which sides are drawn and reviewers' pseudonyms made. Never leaves the database."""

    __tablename__ = "review_secret"

    id: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[str] = mapped_column(String(64))


class ConversationRow(Base):
    """A conversation: a tree of messages, of which one branch is shown.

    Attributes:
        id: random, so that it can stand in a link.
        settings: what the view chose (model, sampling, system prompt), as JSON.
        head: the last message of the branch that is shown.
        share: the token by which others may read it; None: nobody may.
    """

    __tablename__ = "conversations"
    __table_args__ = (UniqueConstraint("share", name="uq_conversations_share"), Index("ix_conversations_owner", "owner"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(250))
    title: Mapped[str] = mapped_column(String(250))
    settings: Mapped[str] = mapped_column(Text)
    head: Mapped[int | None]
    share: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class MessageRow(Base):
    """A message and what it answers. Editing adds a message with the same parent: a branch.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        model: what the answer was asked of; None for people's messages.
        version: ``models:/name/3``, if it is registered.
        digest: sha256 of its weights.
        details: settings, usage, seconds, as JSON.
    """

    __tablename__ = "messages"
    __table_args__ = (Index("ix_messages_conversation", "conversation"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    parent: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(String(500))
    version: Mapped[str | None] = mapped_column(String(500))
    digest: Mapped[str | None] = mapped_column(String(64))
    details: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class FeedbackRow(Base):
    """What a reviewer said of an answer. The question and the answer stand here too: a deleted conversation loses no feedback.

    Attributes:
        message: id of the message; not a foreign key, for the same reason.
        kind: ``thumb``, ``comment`` or ``edit``.
        value: 1, -1 or 0 (taken back) for a thumb, else 0.
        text: the comment, or the answer as it should have been.
        prompt: the messages before the answer, as JSON; of an answer that used tools an object with ``messages``, the ``turn``
            on the way to the answer (None if it isn't known) and its ``tools``.
    """

    __tablename__ = "feedback"
    __table_args__ = (Index("ix_feedback_message", "message", "reviewer"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[int]
    reviewer: Mapped[str] = mapped_column(String(250))
    kind: Mapped[str] = mapped_column(String(20))
    value: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    prompt: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(String(500))
    version: Mapped[str | None] = mapped_column(String(500))
    digest: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class ArenaPrompt(Base):
    """A prompt on which models meet.

    Attributes:
        digest: sha256 of its normalised text: the same prompt stands once.
        origin: ``queue``, or ``free`` if a reviewer typed it; those come to other reviewers as well.
        active: 0 takes it out of the queue.
    """

    __tablename__ = "arena_prompts"
    __table_args__ = (UniqueConstraint("digest", name="uq_arena_prompts_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(20))
    author: Mapped[str] = mapped_column(String(250))
    active: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class ArenaAnswer(Base):
    """A model's answer to a prompt: one, which all reviewers see, so that their votes are about the same thing.

    Attributes:
        settings: how it was sampled, as JSON.
    """

    __tablename__ = "arena_answers"
    __table_args__ = (UniqueConstraint("prompt", "model", name="uq_arena_answers_model"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt: Mapped[int] = mapped_column(ForeignKey("arena_prompts.id"))
    model: Mapped[str] = mapped_column(String(500))
    version: Mapped[str | None] = mapped_column(String(500))
    digest: Mapped[str | None] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    settings: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class ArenaMatch(Base):
    """Two models before one reviewer, on one prompt. A reviewer meets a prompt once.

    Attributes:
        id: random; it tells nothing of the sides.
        a, b: the models by side. They stay here until the vote.
    """

    __tablename__ = "arena_matches"
    __table_args__ = (UniqueConstraint("reviewer", "prompt", name="uq_arena_matches_once"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    reviewer: Mapped[str] = mapped_column(String(250))
    prompt: Mapped[int] = mapped_column(ForeignKey("arena_prompts.id"))
    a: Mapped[str] = mapped_column(String(500))
    b: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class ArenaVote(Base):
    """A vote on a match; the one with the highest number counts.

    Attributes:
        number: 0 for the vote, more for its corrections.
        choice: ``a``, ``b``, ``tie`` or ``both_bad``.
        seconds: from the match's appearance to the vote.
        reason: why it was corrected; empty for the vote itself.
    """

    __tablename__ = "arena_votes"
    __table_args__ = (UniqueConstraint("match", "number", name="uq_arena_votes_number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    match: Mapped[str] = mapped_column(ForeignKey("arena_matches.id"))
    number: Mapped[int]
    choice: Mapped[str] = mapped_column(String(20))
    seconds: Mapped[float] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class SavedFilter(Base):
    """A filter that somebody kept under a name.

    Attributes:
        content: the view's own settings, as JSON.
    """

    __tablename__ = "saved_filters"
    __table_args__ = (UniqueConstraint("owner", "view", "name", name="uq_saved_filters_name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(250))
    view: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(250))
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
