"""All that the votes say in one JSON-ready document, for the command line and the arena's page."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from components.errors import LapidarError
from components.reviews import diagnosis
from components.reviews.opened import Place
from components.reviews.standing import agreement_of, ranking_of, votes


def summary(place: Place, seed: int = 0) -> dict[str, Any]:
    """``votes, prompts, reviewers (votes by name), ranking, agreement, findings, notes``.

    What can't be said yet is empty or None, and ``notes`` say why.
    """
    found = votes(place)
    notes: list[str] = []
    order: list[dict[str, Any]] = []
    agreed: dict[str, Any] | None = None
    try:
        ranks = ranking_of(found, seed)
        order = [
            {"model": name, "points": asdict(points), "ranks": list(ranks.ranks[name])} for name, points in ranks.points.items()
        ]
        notes += [ranks.note] if ranks.note else []
    except LapidarError as error:
        notes.append(f"no ranking: {error}")
    try:
        agreed = asdict(agreement_of(found, seed))
    except LapidarError as error:
        notes.append(f"no agreement: {error}")
    return {
        "votes": len(found),
        "prompts": len({vote.prompt for vote in found}),
        "reviewers": dict(Counter(vote.reviewer for vote in found).most_common()),
        "ranking": order,
        "agreement": agreed,
        "findings": [asdict(finding) for finding in diagnosis.diagnose(found)],
        "notes": notes,
    }
