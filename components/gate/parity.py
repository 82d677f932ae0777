"""The model after each hand-over is the model before it, within the limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.gate.verdict import Case, Reason, Verdict, number

if TYPE_CHECKING:
    from components.recipe import RegisterConfig

LOGIT_TOLERANCE = 1e-4
_NAME = "parity"


def check(case: Case) -> list[Reason]:
    """A reason for each reload and each hand-over that there must be."""
    parity, exported = case.evidence.parity, bool(case.evidence.recipe.get("export"))
    if not parity:
        return [Reason(_NAME, "unknown", "parity was not computed", code="no_parity")]
    needed = ["reload", "reload_merged", *(["reload_exported"] if exported else [])]
    reasons = [_reload(name, parity.get(name)) for name in dict.fromkeys([*needed, *parity]) if name.startswith("reload")]
    for name in ("merged", "exported"):
        if name in parity:
            reasons.append(_close(name, parity[name], case.config))
        elif name == "merged" or exported:
            reasons.append(_missing(name))
    if "served" in parity:
        reasons.append(_served(parity["served"]))
    if parity.get("ok") is not True:
        reasons.append(Reason(_NAME, "fail", "the parity stage found a mismatch", code="mismatch"))
    return reasons


def _missing(name: str) -> Reason:
    return Reason(_NAME, "unknown", f"{name}: parity was not computed", code="no_parity_of", values={"part": name})


def _reload(name: str, found: Mapping[str, Any] | None) -> Reason:
    if not found:
        return _missing(name)
    same, difference = found.get("identical_tokens"), number(found.get("max_logit_difference"))
    if same is None or difference is None:
        text = f"{name}: tokens or logits were not compared"
        return Reason(_NAME, "unknown", text, code="not_compared", values={"part": name})
    verdict: Verdict = "pass" if same is True and difference <= LOGIT_TOLERANCE else "fail"
    tokens = "identical tokens" if same is True else "other tokens"
    figures = {"identical_tokens": same, "max_logit_difference": difference, "limit": LOGIT_TOLERANCE}
    text, code = f"{name}: {tokens}, logits differ by at most {difference:.2g}", "same_tokens" if same is True else "other_tokens"
    return Reason(_NAME, verdict, text, figures, code, {"part": name})


def _served(found: Mapping[str, Any]) -> Reason:
    """Compared after registration, with a running server; a version that was never served has no such reason."""
    same, difference = found.get("identical_tokens"), number(found.get("max_logprob_difference"))
    if same is None or difference is None:
        return Reason(_NAME, "unknown", "served: tokens or log-probabilities were not compared", code="served_not_compared")
    tokens, code = ("identical tokens", "served_same_tokens") if same is True else ("other tokens", "served_other_tokens")
    if same is not True and found.get("ok") is True:
        tokens, code = "other tokens, as transformers' own answers differ where activations are rounded", "served_rounded"
    text = f"served: {tokens}, log-probabilities differ by at most {difference:.2g}"
    figures = {"identical_tokens": same, "same_prompts": found.get("same_prompts"), "max_logprob_difference": difference}
    return Reason(_NAME, "pass" if found.get("ok") is True else "fail", text, figures, code)


def _close(name: str, found: Mapping[str, Any], config: RegisterConfig) -> Reason:
    kl, top1 = number(found.get("kl")), number(found.get("top1"))
    if kl is None or top1 is None:
        text = f"{name}: KL or top-1 agreement was not computed"
        return Reason(_NAME, "unknown", text, code="no_closeness", values={"part": name})
    verdict: Verdict = "pass" if kl <= config.max_kl and top1 >= config.min_top1 else "fail"
    text = f"{name}: KL {kl:.4g} nats a token, top-1 agreement {top1:.1%} (limits {config.max_kl} and {config.min_top1:.0%})"
    figures = {"kl": kl, "max_kl": config.max_kl, "top1": top1, "min_top1": config.min_top1}
    return Reason(_NAME, verdict, text, figures, "closeness", {"part": name})
