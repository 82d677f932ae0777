"""The candidate isn't shown to be worse than the champion in any guarded metric."""

from __future__ import annotations

from components.comparison import by_metric
from components.gate.champion import against, no_worse, same_items
from components.gate.verdict import Case, Reason

_NAME = "guards"


def check(case: Case) -> list[Reason]:
    """A reason for each guarded metric on each benchmark, corrected over all of them."""
    champion, guards = case.champion, tuple(dict.fromkeys(case.config.guards))
    if champion is None or champion.digest == case.evidence.digest:
        return [
            Reason(_NAME, "pass", f"{metric}: no other champion to compare with", code="no_other", values={"metric": metric})
            for metric in guards
        ]
    reasons, comparable = [], []
    for metric in guards:
        ours = by_metric(case.items, (metric,))
        if ours and same_items(ours, by_metric(champion.items or [], (metric,))):
            comparable.append(metric)
            continue
        text = f"{metric}: candidate and champion (version {champion.version}) have no such score of the same items"
        values = {"metric": metric, "version": champion.version}
        reasons.append(Reason(_NAME, "unknown", text, code="no_such_score", values=values))
    if comparable:
        reasons += [no_worse(_NAME, found, champion) for found in against(case, champion, tuple(comparable))]
    return reasons
