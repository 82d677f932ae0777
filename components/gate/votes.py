"""People prefer the candidate, by enough blind votes of enough reviewers."""

from __future__ import annotations

from components.gate.judge import wins
from components.gate.verdict import Case, Reason

_NAME = "votes"


def check(case: Case) -> list[Reason]:
    """One reason, if the policy asks for votes."""
    policy, found = case.config.votes, case.evidence.votes
    if policy is None:
        return []
    rate, reviewers = found.get("win_rate") or {}, int(found.get("reviewers") or 0)
    votes = int(rate.get("n") or 0)
    figures = {"votes": votes, "min_votes": policy.min_votes, "reviewers": reviewers, "min_reviewers": policy.min_reviewers}
    if votes < policy.min_votes or reviewers < policy.min_reviewers:
        text = f"{votes} votes of {reviewers} reviewers; it takes {policy.min_votes} of {policy.min_reviewers}"
        return [Reason(_NAME, "unknown", text, figures, "too_few_votes")]
    more = {**figures, "agreement": found.get("agreement")}
    return [wins(_NAME, f"{votes} votes of {reviewers} reviewers", rate, policy.min_win_rate, more, "votes_win", figures)]
