"""State that outlives runs: registration keys and logged overrides, in SQLite in the home or in PostgreSQL by URL."""
