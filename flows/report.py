"""A run as one JSON document: what ``--json`` prints and ``runs/<id>/report.json`` keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import combinations
from typing import TYPE_CHECKING, Any

from components import floors, noise
from components.comparison import compare, read_items
from components.contamination.scores import read_matches, with_and_without
from components.errors import InputError

if TYPE_CHECKING:
    from flows.run import Run

_SHARES = ("truncated", "unparsed")
_ASKED = ("items", "of", "overlong", "prompts_sha256", "spec_sha256")
MARK, MARK_ABOVE = "!", 0.02
MARKED = f"{MARK} over {MARK_ABOVE:.0%} of the answers were truncated or couldn't be read: such a score says less than its interval"
_TOLD_APART = ("evaluate", "verify", "screen")


def build(run: Run) -> dict[str, Any]:
    """The document of a run that has ended; a run that failed has what it got to, and ``error``."""
    scores = evaluations(run)
    content: dict[str, Any] = {
        "run": run.id,
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "data": {"md5": run.data.md5, "path": str(run.data.path), "revision": run.data.revision} if run.data else None,
        "stages": [asdict(step) for step in run.steps],
        "metrics": {name: flat(metrics) for name, metrics in scores.items()},
        "differences": differences(run),
        "asked": asked(run),
        "contamination": contamination(run),
        "figures": {name: sealed.metrics for name, sealed in run.sealed.items() if sealed.stage not in _TOLD_APART},
        "version": run.registration.version if run.registration else None,
        "registers": run.registers,
        "gate": run.registration.gate if run.registration else _no_gate(run),
        "seconds": run.seconds,
        "peak_rss_mb": run.peak_rss_mb,
        "prefect_run": run.prefect_id,
    }
    if run.error is not None:
        content["error"] = {"type": type(run.error).__name__, "message": str(run.error)}
    return content


def evaluations(run: Run) -> dict[str, dict[str, Any]]:
    """``{stage: {benchmark: {metric: {value, low, high, n}}}}`` in the order of the stages."""
    found = {name: sealed.metrics for name, sealed in run.sealed.items() if sealed.stage == "evaluate"}
    return {name.removeprefix("evaluate."): metrics for name, metrics in found.items()}


def asked(run: Run) -> dict[str, Any]:
    """How each benchmark was asked, from the last evaluation: items, the whole's size, hashes of prompts and of all settings."""
    last = [sealed.path / "spec.json" for sealed in run.sealed.values() if sealed.stage == "evaluate"][-1:]
    specs = json.loads(last[0].read_bytes()) if last and last[0].exists() else {}
    return {name: {part: spec[part] for part in _ASKED} for name, spec in specs.items()}


def contamination(run: Run) -> dict[str, Any] | None:
    """What was found of the evaluation in training data; None if the recipe doesn't look or the run didn't get there.

    If something was found, ``scores`` has the registered model's with and without these items.
    """
    if (sealed := run.sealed.get("contamination")) is None:
        return None
    found = dict(sealed.metrics)
    name = next((n for n in ("export", run.graph.final) if f"evaluate.{n}" in run.sealed), None)
    if found["state"] == "contaminated" and name is not None:
        items = read_items(run.sealed[f"evaluate.{name}"].path)
        found["scores"] = with_and_without(items, read_matches(sealed.path))
    return found


def flat(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics of one evaluation by one name each: ``metric``, or ``benchmark.metric`` if there are several benchmarks."""
    if len(metrics) == 1:
        return dict(next(iter(metrics.values())))
    return {f"{benchmark}.{name}": value for benchmark, found in metrics.items() for name, value in found.items()}


def marked(metrics: Mapping[str, Any], name: str = "") -> list[str]:
    """Which shares of unusable answers are above 2 %: scores of that benchmark are marked wherever they are shown.

    Args:
        metrics: of one benchmark, or of several by ``benchmark.metric``.
        name: of a metric, which says the benchmark where there are several.
    """
    prefix = "".join(name.rpartition(".")[:2])
    return [share for share in _SHARES if (found := metrics.get(prefix + share)) and found["value"] > MARK_ABOVE]


def differences(run: Run) -> list[dict[str, Any]]:
    """From each evaluated stage to every later one: the paired comparison of every metric, corrected over all of them.

    Stages that were evaluated on other items have no metric in common.
    """
    evaluated = {name: run.sealed[f"evaluate.{name}"].path for name in evaluations(run)}
    items = {name: read_items(path) for name, path in evaluated.items()}
    known = {name: floors.known(path, run.settings) for name, path in evaluated.items()}
    found = []
    for before, after in combinations(evaluated, 2):
        metrics: dict[str, dict[str, Any]] = {}
        with suppress(InputError):
            for each in compare(items[after], items[before], floors=noise.merged(known[after], known[before])):
                metrics.setdefault(each.benchmark, {})[each.metric] = each.to_dict()
        found.append({"from": before, "to": after, "metrics": flat(metrics)})
    return found


def table(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a table over a stage's ``metrics.json``: estimates with their intervals, plain numbers as they are."""
    rows: list[dict[str, Any]] = []
    for name, value in metrics.items():
        if isinstance(value, Mapping) and "value" in value:
            rows.append({"metric": name, **{part: value.get(part) for part in ("value", "low", "high", "n")}})
        elif isinstance(value, Mapping):
            rows += [{**row, "metric": f"{name}.{row['metric']}"} for row in table(value)]
        elif isinstance(value, (int, float, str)):
            rows.append({"metric": name, "value": value})
    return rows


def _no_gate(run: Run) -> dict[str, Any]:
    if run.recipe.register_ is None:
        text = "the recipe has no 'register' section, so nothing was registered"
    elif run.error is not None:
        text = "the run failed before registration"
    else:
        text = "the run stopped before registration, as --until asked"
    return {"verdict": "unknown", "reasons": [{"check": "registration", "verdict": "unknown", "text": text}]}
