"""Compares a registered version with a rerun of it: identical, within noise, or drifted and since which stage. Pure.

*identical*: every stage's output has the digest that it had. *within noise*: some haven't, and every metric of the registered
model differs by no more than its stored noise floor. *drifted*: the rest, and so whatever differs where no floor was measured:
few items would make any change look like noise. Where outputs differ, the first stage whose output does is named with
everything that was different about it; what nothing explains is nondeterminism.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from components.comparison import Comparison, by_metric, compare_scores, ranges
from components.noise import Floors

Item = Mapping[str, Any]
What = Literal["data", "seed", "recipe", "code", "lock", "hardware", "nondeterminism", "run"]
_NAMES_ITS_UPLOAD = "verify"  # its output tells of this very copy in the registry


@dataclass(frozen=True)
class Cause:
    """Something that was different, with both values."""

    what: What
    text: str


@dataclass(frozen=True)
class Metric:
    """A metric of the registered model: rerun minus original on the same items; no comparison where they can't be paired."""

    benchmark: str
    metric: str
    comparison: Comparison | None

    @property
    def within(self) -> bool:
        """Whether chance alone is known to make such a difference."""
        if self.comparison is None or self.comparison.floor is None:
            return False
        return abs(self.comparison.difference.value) <= self.comparison.floor.half_width

    @property
    def text(self) -> str:
        """The difference, and what it was held against."""
        if self.comparison is None:
            return "can't be paired: other items"
        found, floor = self.comparison.difference, self.comparison.floor
        said = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], n={found.n}"
        if floor is None:
            return f"{said}; no noise floor was measured to hold it against (evaluate.reruns: 2 or more)"
        return f"{said}; {'inside' if self.within else 'outside'} the noise floor of ±{floor.half_width:.3f} ({floor.runs} runs)"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        found = self.comparison.to_dict() if self.comparison else None
        return {"benchmark": self.benchmark, "metric": self.metric, "difference": found, "within": self.within, "text": self.text}


@dataclass(frozen=True)
class Reproduction:
    """What a rerun showed.

    Attributes:
        first: the first stage whose output differs; None if none does, or the rerun made none.
        stages: ``{name: (digest then, digest now)}`` in the order of the run; None for a stage that the other one lacks.
        metrics: compared if outputs differ.
    """

    verdict: Literal["identical", "within noise", "drifted"]
    first: str | None
    causes: list[Cause]
    stages: dict[str, tuple[str | None, str | None]]
    metrics: list[Metric]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self) | {"metrics": [metric.to_dict() for metric in self.metrics]}


def compare(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    items_then: Sequence[Item] | None,
    items_now: Sequence[Item] | None,
    floors: Floors | None = None,
) -> Reproduction:
    """The verdict from the evidence (``evidence.json``'s ``evidence``) and the evaluated items of both versions.

    Args:
        floors: noise floors of the original by benchmark and metric.
    """
    before, after = _stages(then), _stages(now)
    names = list(dict.fromkeys([*before, *after]))
    stages = {name: (before.get(name, {}).get("digest"), after.get(name, {}).get("digest")) for name in names}
    first = next((name for name, (a, b) in stages.items() if a != b or a is None), None)
    if first is None and names:
        return Reproduction("identical", None, [], stages, [])
    causes = list(_causes(str(first), then, now)) if first else [Cause("run", "neither version says which stages it was made of")]
    metrics = _metrics(items_then or [], items_now or [], floors or {})
    within = bool(metrics) and all(metric.within for metric in metrics)
    return Reproduction("within noise" if within else "drifted", first, causes, stages, metrics)


def failed(then: Mapping[str, Any], text: str) -> Reproduction:
    """The verdict on a rerun that ended without a version."""
    stages: dict[str, tuple[str | None, str | None]] = {name: (stage.get("digest"), None) for name, stage in _stages(then).items()}
    return Reproduction("drifted", None, [Cause("run", text)], stages, [])


def _stages(evidence: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {stage["name"]: stage for stage in evidence.get("stages", []) if stage["name"] != _NAMES_ITS_UPLOAD}


def _causes(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    """All that was different about a stage; nothing found is nondeterminism."""
    found = [
        *(_data(then, now) if name == "data" else []),
        *_base(name, then, now),
        *_changed("seed", "seed", then.get("seeds", {}), now.get("seeds", {})),
        *_recipe(then.get("recipe", {}), now.get("recipe", {})),
        *_made_with(name, then, now),
        *_changed("hardware", "", then.get("machine", {}), now.get("machine", {})),
    ]
    yield from found
    if not found:
        known = then.get("machine") and _stages(then).get(name, {}).get("versions")
        hint = "" if known or name == "data" else " (or the machine or the packages, which the version doesn't name)"
        yield Cause("nondeterminism", f"{name} made another output from the same inputs, settings, code and packages{hint}")


def _data(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    a, b = (evidence.get("dataset", {}).get("md5") for evidence in (then, now))
    if a != b:
        yield Cause("data", f"dataset version {a} then, {b} now")


def _base(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    """A base model's chat template: it comes with the model, so neither recipe nor code tells."""
    a, b = (str(evidence.get("chat_template") or "none") for evidence in (then, now))
    if name == "base" and a != b:
        yield Cause("data", f"chat template of the base model: {a[:12]} then, {b[:12]} now")


def _recipe(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    a, b = _flat(then), _flat(now)
    for key in sorted(a.keys() | b.keys()):
        if key != "seed" and a.get(key) != b.get(key):
            yield Cause("recipe", f"{key}: {a.get(key)!r} then, {b.get(key)!r} now")


def _made_with(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    """Benchmark data, source, packages and device of a stage."""
    a, b = _stages(then).get(name, {}), _stages(now).get(name, {})
    if "inputs" in a:  # what was registered before it was recorded says nothing of it
        yield from _changed("data", "", a["inputs"], b.get("inputs", {}))
    if a.get("code") != b.get("code"):
        revisions = " and ".join(_revision(evidence.get("code", {})) for evidence in (then, now))
        yield Cause("code", f"the source that {name} runs was another one (revisions {revisions})")
    elif not a and then.get("code", {}).get("revision") != now.get("code", {}).get("revision"):
        yield Cause("code", f"{name} wasn't a stage then")
    yield from _changed("lock", "", a.get("versions") or {}, b.get("versions") or {})
    yield from _changed("hardware", "", {"device": a.get("device")}, {"device": b.get("device")})


def _revision(code: Mapping[str, Any]) -> str:
    return f"{str(code.get('revision'))[:12]}{'' if code.get('clean') else ' with uncommitted changes'}"


def _changed(what: What, prefix: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Cause]:
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            yield Cause(what, f"{f'{prefix} of ' if prefix else ''}{key}: {then.get(key)} then, {now.get(key)} now")


def _metrics(then: Sequence[Item], now: Sequence[Item], floors: Floors) -> list[Metric]:
    """Every metric that either has; what can be paired is corrected over all of it."""
    old, new = by_metric(then), by_metric(now)
    same = [key for key in old if key in new and old[key].keys() == new[key].keys()]
    found = {(each.benchmark, each.metric): each for each in compare_scores(new, old, same, floors, spans=ranges([*then, *now]))}
    return [Metric(*key, found.get(key)) for key in dict.fromkeys([*old, *new])]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested recipe by dotted names."""
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if entries is None:
        return {prefix.rstrip("."): value}
    return {name: leaf for key, inner in entries for name, leaf in _flat(inner, f"{prefix}{key}.").items()}
