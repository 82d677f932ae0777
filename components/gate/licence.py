"""The base model's licence is one of those allowed."""

from __future__ import annotations

from components.gate.verdict import Case, Reason

_NAME = "licence"


def check(case: Case) -> list[Reason]:
    """One reason, if the policy names licences."""
    licence, allowed = case.evidence.licence, case.config.licences
    if allowed is None:
        return []
    if licence is None:
        return [Reason(_NAME, "unknown", "the base model states no licence; name it with model.licence once you have read it")]
    figures = {"licence": licence, "allowed": list(allowed)}
    if licence.lower() in {name.lower() for name in allowed}:
        return [Reason(_NAME, "pass", f"{licence} is allowed", figures)]
    return [Reason(_NAME, "fail", f"{licence} isn't allowed; allowed are {', '.join(allowed) or 'none'}", figures)]
