"""The reviewers' dashboard: pages over components; nothing here loads a model or runs a job."""
