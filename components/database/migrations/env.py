"""Alembic's entry: runs the revisions inside the transaction that the caller holds."""

from alembic import context

from components.database.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=False,  # the caller's transaction holds all of it
    render_as_batch=True,
)
context.run_migrations()
