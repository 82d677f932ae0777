"""A calibrated judge prefers the candidate to the champion. A judge below the policy's κ or consistency may not decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.gate.verdict import Case, Reason, number

_NAME = "judge"


def check(case: Case) -> list[Reason]:
    """A reason for agreement with people and one for consistency; one for the win rate, if the judge may decide."""
    policy, found, champion = case.config.judge, case.evidence.judgement, case.champion
    if policy is None:
        return []
    if champion is None or champion.digest == case.evidence.digest:
        return [Reason(_NAME, "pass", "there is no other champion to be judged against")]
    if not found:
        return [Reason(_NAME, "unknown", "no judge compared it with the champion; `lapidar judge` does")]
    if found.get("against") != champion.digest:
        text = f"it was judged against other weights ({found.get('against')}) than the champion's (version {champion.version})"
        return [Reason(_NAME, "unknown", text)]
    audit = found.get("audit") or {}
    reasons = [
        _calibrated(f"agreement of {found.get('judge')} with people (κ)", audit.get("kappa"), policy.min_kappa),
        _calibrated(f"position consistency of {found.get('judge')}", audit.get("consistency"), policy.min_consistency),
    ]
    if all(reason.verdict == "pass" for reason in reasons):
        diagnosis = {"diagnosis": found.get("diagnosis", [])}
        reasons.append(
            wins(_NAME, f"{found.get('judge')} against the champion", found.get("win_rate"), policy.min_win_rate, diagnosis)
        )
    return reasons


def wins(name: str, what: str, rate: Mapping[str, Any] | None, least: float, more: Mapping[str, Any]) -> Reason:
    """Passes where the whole interval of a win rate lies above the least one."""
    low, value = number((rate or {}).get("low")), number((rate or {}).get("value"))
    if rate is None or low is None or value is None:
        return Reason(name, "unknown", f"{what}: no win rate with an interval")
    text = f"{what}: win rate {interval(rate)}, the interval has to lie above {least:g}"
    return Reason(name, "pass" if low >= least else "fail", text, {"win_rate": dict(rate), "least": least, **more})


def interval(found: Mapping[str, Any]) -> str:
    """An estimate in words."""
    low, high = number(found.get("low")), number(found.get("high"))
    between = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{found['value']:.3f}{between}, n={found.get('n', '?')}"


def _calibrated(what: str, found: Mapping[str, Any] | None, least: float) -> Reason:
    """Unknown unless measured and high enough: a judge that isn't calibrated says nothing, good or bad."""
    value = number((found or {}).get("value"))
    if found is None or value is None:
        return Reason(_NAME, "unknown", f"{what} was not measured; this judge may not decide")
    figures = {"value": dict(found), "least": least}
    text = f"{what}: {interval(found)}, at least {least:g} asked"
    if value >= least:
        return Reason(_NAME, "pass", text, figures)
    return Reason(_NAME, "unknown", f"{text}; it may not decide", figures)
