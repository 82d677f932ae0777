"""What a comparison contributes to a registered version's evidence: a verdict, and how far its judge can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.errors import InputError

Estimated = Mapping[str, Any]
MOST_UNPARSED = 0.1
"""Above this share of items without a verdict the others' win rate isn't that of the comparison, and none is given."""


def judgement(report: Mapping[str, Any], calibrations: Sequence[Mapping[str, Any]], model: str, against: str) -> dict[str, Any]:
    """``{judge, prompts, against, win_rate, audit: {kappa, consistency, …}, diagnosis}``.

    Args:
        report: of a comparison of two models.
        calibrations: reports of the judge's calibrations; of several the one with the lowest kappa counts.
        model: name of the side that the evidence is about.
        against: digest of the other side.

    Raises:
        InputError: if the report isn't about this model and one other, or has no win rate.
    """
    names = [side["name"] for side in report["models"]]
    if len(names) != 2 or model not in names:
        raise InputError(f"a judgement is about two models, one of them {model!r}; this comparison has {', '.join(names)}")
    pair, audit = report["pairs"][0], report["audit"]
    if pair["win_rate"] is None:
        raise InputError("the comparison has no win rate, because no item has a verdict; nothing is recorded")
    flipped = pair["a"] != model
    worst = min(calibrations, key=lambda found: _kappa(found)["value"], default=None)
    findings = [finding["text"] for finding in report["diagnosis"]]
    findings += [f"on {found['dataset']}: {finding['text']}" for found in calibrations for finding in found["diagnosis"]]
    return {
        "judge": report["judge"]["name"],
        "prompts": report["judge"]["prompts"],
        "against": against,
        "win_rate": _turned(pair["win_rate"], flipped) if audit["unparsed"]["value"] <= MOST_UNPARSED else None,
        "audit": {
            "kappa": _kappa(worst) if worst else None,
            "calibrated_on": worst["dataset"] if worst else None,
            "consistency": audit["position"]["consistency"],
            "unparsed": audit["unparsed"],
            "length_controlled": _turned(pair["length_controlled"], flipped) if pair["length_controlled"] else None,
            "injection": audit["injection"],
        },
        "diagnosis": list(dict.fromkeys(findings)),
        "report": report["digest"],
    }


def _kappa(calibration: Mapping[str, Any]) -> Estimated:
    found: Estimated = calibration["audit"]["people"]["majority"]["kappa"]
    return found


def _turned(rate: Estimated, flipped: bool) -> Estimated:
    """A win rate as the other side sees it."""
    if not flipped:
        return rate
    return {"value": 1 - rate["value"], "low": 1 - rate["high"], "high": 1 - rate["low"], "n": rate["n"]}
