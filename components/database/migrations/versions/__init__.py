"""One file a revision. The newest one's id is ``HEAD`` in ``components.database.engine``."""
