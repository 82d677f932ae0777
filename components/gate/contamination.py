"""Contamination was looked for, on everything that was evaluated, and not found. *Not checked* is never clean."""

from __future__ import annotations

from typing import Any

from components import methods
from components.contamination.suite import HELDOUT
from components.gate.verdict import Case, Reason, Verdict

_NAME = "contamination"
_NOT_CHECKED = "not checked"
_VERDICTS: dict[str, Verdict] = {"clean": "pass", "contaminated": "fail"}


def check(case: Case) -> list[Reason]:
    """One reason for the whole and one for each benchmark, if the policy requires it."""
    if not case.config.require_clean:
        return []
    found = case.evidence.contamination
    reasons = [_reason("", found or {"reason": "no stage looked for it"})]
    benchmarks = found.get("benchmarks", {})
    reasons += [_reason(f"{name}: ", each) for name, each in benchmarks.items()]
    if benchmarks:
        names = _names(case)
        left = [name for name in case.evidence.evaluation if names.get(name, name) not in benchmarks]
        reasons += [_reason(f"{name}: ", {"reason": "it was evaluated and left out"}) for name in left]
    return reasons


def _names(case: Case) -> dict[str, str]:
    """Under which name the search for contamination reports the data that each evaluated benchmark reads."""
    found = {}
    for asked in (case.evidence.recipe.get("evaluate") or {}).get("benchmarks") or []:
        config: Any = methods.load("benchmark", asked["method"]).Config.model_validate(asked)
        found[config.label] = config.stored() or HELDOUT
    return found


def _reason(of: str, found: dict[str, object]) -> Reason:
    state, why = str(found.get("state", _NOT_CHECKED)), found.get("reason")
    figures = {key: value for key, value in found.items() if key in ("state", "items", "flagged", "methods")}
    return Reason(_NAME, _VERDICTS.get(state, "unknown"), f"{of}{state}: {why}" if why else f"{of}{state}", figures)
