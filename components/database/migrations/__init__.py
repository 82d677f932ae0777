"""Alembic's scripts; ``components.database.engine.migrate`` runs them."""
