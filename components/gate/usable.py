"""Few enough answers of each benchmark were truncated or could not be parsed."""

from __future__ import annotations

from components.gate.verdict import Case, Reason, Verdict, number

_NAME = "usable answers"


def check(case: Case) -> list[Reason]:
    """A reason for each benchmark and share."""
    if not case.evidence.evaluation:
        return [Reason(_NAME, "unknown", "the model was not evaluated", code="not_evaluated")]
    reasons, limit = [], case.config.max_unusable
    for benchmark, metrics in case.evidence.evaluation.items():
        for name in ("truncated", "unparsed"):
            share = number(metrics.get(name, {}).get("value"))
            if share is None:
                text = f"{benchmark}: share {name} was not measured"
                reasons.append(Reason(_NAME, "unknown", text, code=f"no_share_{name}", values={"benchmark": benchmark}))
                continue
            verdict: Verdict = "pass" if share <= limit else "fail"
            figures = {"benchmark": benchmark, "what": name, "share": share, "limit": limit}
            text = f"{benchmark}: {share:.1%} {name}, at most {limit:.1%} allowed"
            reasons.append(Reason(_NAME, verdict, text, figures, f"share_{name}"))
    return reasons
