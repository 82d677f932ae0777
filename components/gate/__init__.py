"""Decides whether a candidate may become champion. Pure: evidence in, verdict with reasons out.

One file a check; each says pass, fail or unknown with the figures that it rests on. Missing evidence is ``unknown``, never
``pass``. Which checks apply, and their limits, stand in the recipe's ``register`` section. Sample reason::

    Reason("parity", "pass", "reload: identical tokens, logits differ by at most 0", {"max_logit_difference": 0.0, …})
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.gate import champion as champion_check
from components.gate import contamination, guards, judge, licence, parity, size, speed, usable, votes
from components.gate.verdict import Case, Champion, Evidence, Gate, Item, Reason, Verdict

if TYPE_CHECKING:
    from components.recipe import RegisterConfig

__all__ = ["Champion", "Evidence", "Gate", "Item", "Reason", "Verdict", "decide"]

CHECKS = (
    parity.check,
    usable.check,
    champion_check.check,
    guards.check,
    licence.check,
    size.check,
    speed.check,
    contamination.check,
    judge.check,
    votes.check,
)


def decide(
    evidence: Evidence,
    champion: Champion | None,
    config: RegisterConfig,
    items: Sequence[Item] | None,
) -> Gate:
    """Runs every check; fails if any fails, else is unknown if any is unknown, else passes.

    Args:
        evidence: the candidate's; what is missing in it is unknown.
        champion: None if the model has none.
        config: the limits.
        items: the candidate's evaluation items: ``benchmark, id, scores, truncated, parsed``.

    """
    case = Case(evidence, champion, config, items or [])
    reasons = [reason for check in CHECKS for reason in check(case)]
    found = {reason.verdict for reason in reasons}
    verdict: Verdict = "fail" if "fail" in found else "unknown" if "unknown" in found else "pass"
    return Gate(verdict, reasons, evidence.digest, champion.digest if champion else None)
