"""Sign-ins of local accounts, which outlive a page.

Revision: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("account", sa.Integer, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.UniqueConstraint("digest", name="uq_sign_ins_digest"),
    )


def downgrade() -> None:
    """Drops it."""
    op.drop_table("sign_ins")
