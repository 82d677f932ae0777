"""Decides whether a candidate may become champion. Pure: evidence in, verdict with reasons out.

Missing evidence is ``unknown``, never ``pass``. Sample reason::

    Reason(check="parity", verdict="pass", text="reload: identical tokens, logits differ by at most 0")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from components.artifacts import Estimate

if TYPE_CHECKING:
    from components.recipe import RegisterConfig

Verdict = Literal["pass", "fail", "unknown"]
Item = Mapping[str, Any]
Scores = Mapping[str, Mapping[str, float]]
LOGIT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Evidence:
    """Everything that a registered version carries; JSON-ready values only.

    Attributes:
        digest: sha256 of the registered weights (adapter, merged, export).
        dataset: ``md5``, ``repository``, ``revision``, ``path`` of the dataset version.
        recipe: the resolved recipe.
        code: ``revision`` (git) and ``clean``.
        lock: sha256 of the lock file.
        seeds: seed by what it seeds; usually ``{"recipe": 0}``.
        stages: one record a stage: ``name, method, key, digest, status, seconds`` and, of sealed ones, ``code`` (digest of the
            source), ``versions`` (of packages) and ``device``.
        chat_template: sha256 of the chat template.
        metrics: ``{stage: {benchmark: {metric: {value, low, high, n}}}}``.
        evaluation: ``{benchmark: {metric: {value, low, high, n}}}`` of the registered model.
        parity: ``ok`` and, by hand-over, ``reload…: {identical_tokens, max_logit_difference}``,
            ``merged`` and ``exported``: ``{kl, top1}``.
        contamination: ``state`` (clean, contaminated or not checked) and what it rests on.
        licence: SPDX id or a sentence.
        sizes: bytes of the uploaded weights by folder: ``adapter``, ``merged``, ``export``.
        machine: ``cpu``, ``instructions``, ``threads``; not part of the evidence's own digest.
        runs: ``lapidar``, ``mlflow``, ``prefect`` run ids; not part of the evidence's own digest.

    """

    digest: str
    dataset: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    lock: str | None = None
    seeds: dict[str, int] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    chat_template: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    contamination: dict[str, Any] = field(default_factory=dict)
    licence: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Champion:
    """The version that the candidate is compared with."""

    version: str
    digest: str
    items: Sequence[Item] | None


@dataclass(frozen=True)
class Reason:
    """What one check found."""

    check: str
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Gate:
    """The verdict on one candidate against one champion.

    Attributes:
        digest: the candidate's weights.
        champion: digest of the champion it was compared with, None if there was none.

    """

    verdict: Verdict
    reasons: list[Reason]
    digest: str
    champion: str | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Gate:
        """The inverse of ``to_dict``."""
        reasons = [Reason(**reason) for reason in content["reasons"]]
        return cls(content["verdict"], reasons, content["digest"], content["champion"])


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
    reasons = [
        *check_parity(evidence.parity, config, exported=bool(evidence.recipe.get("export"))),
        *check_usable(evidence.evaluation, config),
        *check_champion(evidence.digest, items, champion, config.metric, config.margin),
        *check_guards(evidence.digest, items, champion, config.guards),
        *check_licence(evidence.licence, config.licences),
        *check_size(evidence.sizes, config.max_mb),
        *check_contamination(evidence.contamination, config.require_clean),
    ]
    found = {reason.verdict for reason in reasons}
    verdict: Verdict = "fail" if "fail" in found else "unknown" if "unknown" in found else "pass"
    return Gate(verdict, reasons, evidence.digest, champion.digest if champion else None)


def check_parity(parity: Mapping[str, Any], config: RegisterConfig, exported: bool) -> list[Reason]:
    """The model after each hand-over is the model before it, within the limits."""
    if not parity:
        return [Reason("parity", "unknown", "parity was not computed")]
    needed = ["reload", "reload_merged", *(["reload_exported"] if exported else [])]
    reasons = [_reload(name, parity.get(name)) for name in dict.fromkeys([*needed, *parity]) if name.startswith("reload")]
    for name in ("merged", "exported"):
        if name in parity:
            reasons.append(_close(name, parity[name], config))
        elif name == "merged" or exported:
            reasons.append(Reason("parity", "unknown", f"{name}: parity was not computed"))
    if parity.get("ok") is not True:
        reasons.append(Reason("parity", "fail", "the parity stage found a mismatch"))
    return reasons


def check_usable(evaluation: Mapping[str, Any], config: RegisterConfig) -> list[Reason]:
    """Few enough answers of each benchmark were truncated or could not be parsed."""
    if not evaluation:
        return [Reason("usable answers", "unknown", "the model was not evaluated")]
    reasons = []
    for benchmark, metrics in evaluation.items():
        for name in ("truncated", "unparsed"):
            share = _number(metrics.get(name, {}).get("value"))
            if share is None:
                reasons.append(Reason("usable answers", "unknown", f"{benchmark}: share {name} was not measured"))
                continue
            verdict: Verdict = "pass" if share <= config.max_unusable else "fail"
            text = f"{benchmark}: {share:.1%} {name}, at most {config.max_unusable:.1%} allowed"
            reasons.append(Reason("usable answers", verdict, text))
    return reasons


def check_champion(
    digest: str, items: Sequence[Item] | None, champion: Champion | None, metric: str, margin: float = 0.0
) -> list[Reason]:
    """The candidate beats the champion on the same items, by a paired 95 % interval on every benchmark's metric.

    Better by more than the margin on one benchmark and worse on none passes.
    """
    check = "champion"
    if champion is not None and champion.digest == digest:
        return [Reason(check, "pass", f"version {champion.version} has the same weights and is champion already")]
    scores = _scores(items or [], metric)
    if not scores:
        return [Reason(check, "unknown", f"the candidate has no evaluation items with metric {metric!r}")]
    if champion is None:
        return [Reason(check, "pass", "there is no champion yet")]
    theirs = _scores(champion.items or [], metric)
    if not theirs:
        text = f"champion (version {champion.version}) has no evaluation items with metric {metric!r}"
        return [Reason(check, "unknown", text)]
    if {b: ids.keys() for b, ids in scores.items()} != {b: ids.keys() for b, ids in theirs.items()}:
        text = f"champion (version {champion.version}) was evaluated on other items; evaluate it on the same ones"
        return [Reason(check, "unknown", text)]
    reasons, better = [], False
    for benchmark, difference in _differences(scores, theirs).items():
        better |= difference.low > margin
        reasons.append(_no_worse(check, benchmark, metric, champion.version, difference))
    if not better:
        least = f"{margin:+.3f}" if margin else "zero"
        text = f"not shown to be better than the champion (version {champion.version}): no interval lies above {least}"
        reasons.append(Reason(check, "fail", text))
    return reasons


def check_guards(digest: str, items: Sequence[Item] | None, champion: Champion | None, guards: Sequence[str]) -> list[Reason]:
    """The candidate isn't shown to be worse than the champion in any guarded metric."""
    check = "guards"
    if champion is None or champion.digest == digest:
        return [Reason(check, "pass", f"{metric}: no other champion to compare with") for metric in guards]
    reasons = []
    for metric in guards:
        ours, theirs = _scores(items or [], metric), _scores(champion.items or [], metric)
        if not ours or {b: ids.keys() for b, ids in ours.items()} != {b: ids.keys() for b, ids in theirs.items()}:
            text = f"{metric}: candidate and champion (version {champion.version}) have no such score of the same items"
            reasons.append(Reason(check, "unknown", text))
            continue
        differences = _differences(ours, theirs)
        reasons += [_no_worse(check, benchmark, metric, champion.version, found) for benchmark, found in differences.items()]
    return reasons


def check_licence(licence: str | None, allowed: Sequence[str] | None) -> list[Reason]:
    """The base model's licence is one of those allowed."""
    if allowed is None:
        return []
    if licence is None:
        text = "the base model states no licence; name it with model.licence once you have read it"
        return [Reason("licence", "unknown", text)]
    listed = ", ".join(allowed) or "none"
    if licence.lower() in {name.lower() for name in allowed}:
        return [Reason("licence", "pass", f"{licence} is allowed")]
    return [Reason("licence", "fail", f"{licence} isn't allowed; allowed are {listed}")]


def check_size(sizes: Mapping[str, int], limit: float | None) -> list[Reason]:
    """What is served, the exported weights or else the merged ones, is small enough. ``limit`` in MiB."""
    if limit is None:
        return []
    served = next((name for name in ("export", "merged") if name in sizes), None)
    if served is None:
        return [Reason("size", "unknown", "the size of the weights was not recorded")]
    size = sizes[served] / 2**20
    return [Reason("size", "pass" if size <= limit else "fail", f"{served}: {size:,.1f} MiB, at most {limit:,.1f} allowed")]


def check_contamination(found: Mapping[str, Any], required: bool) -> list[Reason]:
    """Contamination was looked for and not found."""
    if not required:
        return []
    state = found.get("state", "not checked")
    verdict: Verdict = "pass" if state == "clean" else "fail" if state == "contaminated" else "unknown"
    reason = found.get("reason") or ("no stage looked for it" if not found else "")
    return [Reason("contamination", verdict, f"{state}: {reason}" if reason else str(state))]


def _differences(ours: Scores, theirs: Scores) -> dict[str, Estimate]:
    """Candidate minus champion by benchmark, on the same items."""
    from components.statistics import paired_difference

    return {
        benchmark: paired_difference(list(values.values()), [theirs[benchmark][item] for item in values])
        for benchmark, values in ours.items()
    }


def _no_worse(check: str, benchmark: str, metric: str, version: str, difference: Estimate) -> Reason:
    interval = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], n={difference.n}"
    text = f"{benchmark} {metric} against champion (version {version}): {interval}"
    return Reason(check, "fail" if difference.high < 0 else "pass", text)


def _reload(name: str, found: Mapping[str, Any] | None) -> Reason:
    if not found:
        return Reason("parity", "unknown", f"{name}: parity was not computed")
    same, difference = found.get("identical_tokens"), _number(found.get("max_logit_difference"))
    if same is None or difference is None:
        return Reason("parity", "unknown", f"{name}: tokens or logits were not compared")
    verdict: Verdict = "pass" if same is True and difference <= LOGIT_TOLERANCE else "fail"
    tokens = "identical tokens" if same is True else "other tokens"
    return Reason("parity", verdict, f"{name}: {tokens}, logits differ by at most {difference:.2g}")


def _close(name: str, found: Mapping[str, Any], config: RegisterConfig) -> Reason:
    kl, top1 = _number(found.get("kl")), _number(found.get("top1"))
    if kl is None or top1 is None:
        return Reason("parity", "unknown", f"{name}: KL or top-1 agreement was not computed")
    verdict: Verdict = "pass" if kl <= config.max_kl and top1 >= config.min_top1 else "fail"
    limits = f"limits {config.max_kl} and {config.min_top1:.0%}"
    return Reason("parity", verdict, f"{name}: KL {kl:.4g} nats a token, top-1 agreement {top1:.1%} ({limits})")


def _scores(items: Sequence[Item], metric: str) -> dict[str, dict[str, float]]:
    """Scores by benchmark and item id; benchmarks without the metric are left out."""
    found: dict[str, dict[str, float]] = {}
    for item in items:
        if metric in item["scores"]:
            found.setdefault(item["benchmark"], {})[str(item["id"])] = float(item["scores"][metric])
    return found


def _number(value: Any) -> float | None:
    """A number, or None for what is missing. NaN compares as false with every limit, so it fails."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
