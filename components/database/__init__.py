"""State that outlives runs: registration keys, audit log, approvals, noise floors. SQLite in the home, or PostgreSQL by URL."""
