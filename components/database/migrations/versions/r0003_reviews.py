"""Accounts, conversations, feedback, the arena, saved filters.

Revision: 0003
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"

_TABLES = (
    "saved_filters", "arena_votes", "arena_matches", "arena_answers", "arena_prompts", "feedback", "messages", "conversations",
    "review_secret", "accounts",
)  # fmt: skip
_SQLITE = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'votes and feedback are only ever added to'); END
"""
_POSTGRES = """
CREATE FUNCTION reviews_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'votes and feedback are only ever added to'; END $$
"""
_POSTGRES_TRIGGER = """
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION reviews_are_append_only()
"""


def upgrade() -> None:
    """Creates the tables; votes and feedback are guarded against changes."""
    op.create_table(
        "accounts",
        _id(),
        _text("name", 250),
        _text("role", 20),
        _text("password", 250),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", sa.Float, nullable=False),
        _created(),
        sa.UniqueConstraint("name", name="uq_accounts_name"),
    )
    secret = op.create_table("review_secret", _id(), _text("secret", 64))
    op.bulk_insert(secret, [{"id": 1, "secret": secrets.token_hex(32)}])
    _conversations()
    _arena()
    op.create_table(
        "saved_filters",
        _id(),
        _text("owner", 250),
        _text("view", 100),
        _text("name", 250),
        _text("content"),
        _created(),
        sa.UniqueConstraint("owner", "view", "name", name="uq_saved_filters_name"),
    )
    _guard("arena_votes", "feedback")


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(40), primary_key=True),
        _text("owner", 250),
        _text("title", 250),
        _text("settings"),
        sa.Column("head", sa.Integer),
        sa.Column("share", sa.String(64)),
        _created(),
        _created("updated_at"),
        sa.UniqueConstraint("share", name="uq_conversations_share"),
    )
    op.create_index("ix_conversations_owner", "conversations", ["owner"])
    op.create_table(
        "messages",
        _id(),
        sa.Column("conversation", sa.String(40), sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
        sa.Column("parent", sa.Integer, sa.ForeignKey("messages.id", ondelete="CASCADE")),
        _text("role", 20),
        _text("content"),
        *_model(),
        _text("details"),
        _created(),
    )
    op.create_index("ix_messages_conversation", "messages", ["conversation"])
    op.create_table(
        "feedback",
        _id(),
        sa.Column("message", sa.Integer, nullable=False),
        _text("reviewer", 250),
        _text("kind", 20),
        sa.Column("value", sa.Integer, nullable=False),
        _text("text"),
        _text("prompt"),
        _text("answer"),
        *_model(),
        _created(),
    )
    op.create_index("ix_feedback_message", "feedback", ["message", "reviewer"])


def _arena() -> None:
    op.create_table(
        "arena_prompts",
        _id(),
        _text("digest", 64),
        _text("text"),
        _text("origin", 20),
        _text("author", 250),
        sa.Column("active", sa.Integer, nullable=False),
        _created(),
        sa.UniqueConstraint("digest", name="uq_arena_prompts_digest"),
    )
    op.create_table(
        "arena_answers",
        _id(),
        sa.Column("prompt", sa.Integer, sa.ForeignKey("arena_prompts.id"), nullable=False),
        _text("model", 500),
        *_model()[1:],
        _text("text"),
        _text("settings"),
        _created(),
        sa.UniqueConstraint("prompt", "model", name="uq_arena_answers_model"),
    )
    op.create_table(
        "arena_matches",
        sa.Column("id", sa.String(40), primary_key=True),
        _text("reviewer", 250),
        sa.Column("prompt", sa.Integer, sa.ForeignKey("arena_prompts.id"), nullable=False),
        _text("a", 500),
        _text("b", 500),
        _created(),
        sa.UniqueConstraint("reviewer", "prompt", name="uq_arena_matches_once"),
    )
    op.create_table(
        "arena_votes",
        _id(),
        sa.Column("match", sa.String(40), sa.ForeignKey("arena_matches.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        _text("choice", 20),
        sa.Column("seconds", sa.Float, nullable=False),
        _text("reason"),
        _created(),
        sa.UniqueConstraint("match", "number", name="uq_arena_votes_number"),
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _text(name: str, length: int | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String(length) if length else sa.Text, nullable=False)


def _created(name: str = "created_at") -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _model() -> list[sa.Column[str]]:
    """Which model said it."""
    return [sa.Column("model", sa.String(500)), sa.Column("version", sa.String(500)), sa.Column("digest", sa.String(64))]


def _guard(*tables: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRES)
        for table in tables:
            op.execute(_POSTGRES_TRIGGER.format(table=table))
        return
    for table in tables:
        for verb in ("UPDATE", "DELETE"):
            op.execute(_SQLITE.format(table=table, verb=verb))


def downgrade() -> None:
    """Drops them."""
    for table in _TABLES:
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION reviews_are_append_only")
