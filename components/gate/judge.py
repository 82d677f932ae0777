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
        return [Reason(_NAME, "pass", "there is no other champion to be judged against", code="nobody_to_judge")]
    if not found:
        return [Reason(_NAME, "unknown", "no judge compared it with the champion; `lapidar judge` does", code="not_judged")]
    if found.get("against") != champion.digest:
        text = f"it was judged against other weights ({found.get('against')}) than the champion's (version {champion.version})"
        values = {"weights": str(found.get("against")), "version": champion.version}
        return [Reason(_NAME, "unknown", text, code="judged_against_others", values=values)]
    audit = found.get("audit") or {}
    who = str(found.get("judge"))
    reasons = [
        _calibrated("kappa", who, f"agreement of {who} with people (κ)", audit.get("kappa"), policy.min_kappa),
        _calibrated("consistency", who, f"position consistency of {who}", audit.get("consistency"), policy.min_consistency),
    ]
    if all(reason.verdict == "pass" for reason in reasons):
        diagnosis = {"diagnosis": found.get("diagnosis", [])}
        rate, least = found.get("win_rate"), policy.min_win_rate
        reasons.append(wins(_NAME, f"{who} against the champion", rate, least, diagnosis, "judge_wins", {"judge": who}))
    return reasons


def wins(
    name: str,
    what: str,
    rate: Mapping[str, Any] | None,
    least: float,
    more: Mapping[str, Any],
    code: str,
    values: Mapping[str, Any],
) -> Reason:
    """Passes where the whole interval of a win rate lies above the least one.

    Args:
        code: of the sentence; ``no_<code>`` without a win rate.
        values: what ``what`` names.
    """
    low, value = number((rate or {}).get("low")), number((rate or {}).get("value"))
    if rate is None or low is None or value is None:
        return Reason(name, "unknown", f"{what}: no win rate with an interval", code=f"no_{code}", values=dict(values))
    text = f"{what}: win rate {interval(rate)}, the interval has to lie above {least:g}"
    figures = {"win_rate": dict(rate), "least": least, **more}
    return Reason(name, "pass" if low >= least else "fail", text, figures, code, {**values, "estimate": dict(rate)})


def interval(found: Mapping[str, Any]) -> str:
    """An estimate in words."""
    low, high = number(found.get("low")), number(found.get("high"))
    between = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{found['value']:.3f}{between}, n={found.get('n', '?')}"


def _calibrated(of: str, who: str, what: str, found: Mapping[str, Any] | None, least: float) -> Reason:
    """Unknown unless measured and high enough: a judge that isn't calibrated says nothing, good or bad."""
    value = number((found or {}).get("value"))
    if found is None or value is None:
        text = f"{what} was not measured; this judge may not decide"
        return Reason(_NAME, "unknown", text, code=f"no_{of}", values={"judge": who})
    figures, values = {"value": dict(found), "least": least}, {"judge": who, "estimate": dict(found)}
    text = f"{what}: {interval(found)}, at least {least:g} asked"
    if value >= least:
        return Reason(_NAME, "pass", text, figures, of, values)
    return Reason(_NAME, "unknown", f"{text}; it may not decide", figures, f"low_{of}", values)
