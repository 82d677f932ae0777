"""State that outlives runs: registration keys, audit log, approvals, noise floors; in SQLite in the home or in PostgreSQL by URL."""
