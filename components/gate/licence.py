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
        text = "the base model states no licence; name it with model.licence once you have read it"
        return [Reason(_NAME, "unknown", text, code="no_licence")]
    figures = {"licence": licence, "allowed": list(allowed)}
    if licence.lower() in {name.lower() for name in allowed}:
        return [Reason(_NAME, "pass", f"{licence} is allowed", figures, "licence_allowed")]
    text = f"{licence} isn't allowed; allowed are {', '.join(allowed) or 'none'}"
    code = "licence_refused" if allowed else "licence_refused_all"
    return [Reason(_NAME, "fail", text, figures, code, {"names": ", ".join(allowed)})]
