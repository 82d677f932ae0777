"""Contamination was looked for, on everything that was evaluated, and not found. *Not checked* is never clean."""

from __future__ import annotations

from typing import Any

from components import methods
from components.contamination.suite import HELDOUT
from components.gate.verdict import Case, Reason, Verdict

_NAME = "contamination"
_NOT_CHECKED = "not checked"
_CODES = {"clean": "clean", "contaminated": "contaminated", _NOT_CHECKED: "not_checked"}
_VERDICTS: dict[str, Verdict] = {"clean": "pass", "contaminated": "fail"}


def check(case: Case) -> list[Reason]:
    """One reason for the whole and one for each benchmark, if the policy requires it."""
    if not case.config.require_clean:
        return []
    found = case.evidence.contamination
    reasons = [_reason("", found) if found else _not_checked("", "no stage looked for it", "nobody_looked")]
    benchmarks = found.get("benchmarks", {})
    reasons += [_reason(name, each) for name, each in benchmarks.items()]
    if benchmarks:
        names = _names(case)
        left = [name for name in case.evidence.evaluation if names.get(name, name) not in benchmarks]
        reasons += [_not_checked(name, "it was evaluated and left out", "left_out") for name in left]
    return reasons


def _names(case: Case) -> dict[str, str]:
    """Under which name the search for contamination reports the data that each evaluated benchmark reads."""
    found = {}
    for asked in (case.evidence.recipe.get("evaluate") or {}).get("benchmarks") or []:
        config: Any = methods.load("benchmark", asked["method"]).Config.model_validate(asked)
        found[config.label] = config.stored() or HELDOUT
    return found


def _not_checked(benchmark: str, why: str, code: str) -> Reason:
    return Reason(_NAME, "unknown", f"{_of(benchmark)}{_NOT_CHECKED}: {why}", code=code, values={"of": _of(benchmark)})


def _reason(benchmark: str, found: dict[str, object]) -> Reason:
    """What the search said; why is told in its own words."""
    state, why = str(found.get("state", _NOT_CHECKED)), found.get("reason")
    figures = {key: value for key, value in found.items() if key in ("state", "items", "flagged", "methods")}
    more = f": {why}" if why else ""
    code = _CODES.get(state, "")
    return Reason(
        _NAME,
        _VERDICTS.get(state, "unknown"),
        f"{_of(benchmark)}{state}{more}",
        figures,
        code,
        {"of": _of(benchmark), "why": more} if code else {},
    )


def _of(benchmark: str) -> str:
    return f"{benchmark}: " if benchmark else ""
