"""The candidate beats the champion on the same items: better by more than the margin somewhere, worse nowhere."""

from __future__ import annotations

from components import noise
from components.comparison import Comparison, Scores, by_metric, compare
from components.gate.verdict import Case, Champion, Reason, Verdict

_NAME = "champion"


def check(case: Case) -> list[Reason]:
    """A reason for each benchmark, by a paired interval corrected over all of them and by the noise floor."""
    champion, metric = case.champion, case.config.metric
    if champion is not None and champion.digest == case.evidence.digest:
        text = f"version {champion.version} has the same weights and is champion already"
        return [Reason(_NAME, "pass", text, code="champion_already", values={"version": champion.version})]
    ours = by_metric(case.items, (metric,))
    if not ours:
        text = f"the candidate has no evaluation items with metric {metric!r}"
        return [Reason(_NAME, "unknown", text, code="no_items", values={"metric": metric})]
    if champion is None:
        return [Reason(_NAME, "pass", "there is no champion yet", code="no_champion")]
    theirs = by_metric(champion.items or [], (metric,))
    if not theirs:
        text = f"champion (version {champion.version}) has no evaluation items with metric {metric!r}"
        return [Reason(_NAME, "unknown", text, code="champion_no_items", values={"version": champion.version, "metric": metric})]
    if not same_items(ours, theirs):
        text = f"champion (version {champion.version}) was evaluated on other items; evaluate it on the same ones"
        return [Reason(_NAME, "unknown", text, code="other_items", values={"version": champion.version})]
    reasons = [no_worse(_NAME, found, champion) for found in against(case, champion, (metric,))]
    margin = case.config.margin
    if not any(found.call == "better" for found in against(case, champion, (metric,), margin)):
        least = f"{margin:+.3f}" if margin else "zero and the noise floor"
        text = f"not shown to be better than the champion (version {champion.version}): no interval lies above {least}"
        code = "not_better_by_margin" if margin else "not_better"
        reasons.append(Reason(_NAME, "fail", text, {"margin": margin}, code, {"version": champion.version}))
    return reasons


def against(case: Case, champion: Champion, metrics: tuple[str, ...], margin: float = 0.0) -> list[Comparison]:
    """Candidate minus champion, with the noise floors of both."""
    floors = noise.merged(noise.from_json(case.evidence.noise.get("floors", {})), champion.floors)
    return compare(case.items, champion.items or [], metrics, floors, margin)


def same_items(ours: dict[tuple[str, str], Scores], theirs: dict[tuple[str, str], Scores]) -> bool:
    """Whether both hold the same benchmarks with the same items."""
    return {key: scores.keys() for key, scores in ours.items()} == {key: scores.keys() for key, scores in theirs.items()}


def no_worse(name: str, found: Comparison, champion: Champion) -> Reason:
    """Fails where the candidate is shown to be worse."""
    text = f"{found.benchmark} {found.metric} against champion (version {champion.version}): {found.text()}"
    verdict: Verdict = "fail" if found.call == "worse" else "pass"
    return Reason(name, verdict, text, found.to_dict(), "against_champion", {"version": champion.version})
