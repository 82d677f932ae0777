"""What differs between runs: settings, origin, packages, scores with significance, cost. The first run is the one held against."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components import locks, run_files
from components.comparison import Comparison, LeftOut, compare, floors_of, left_out, read_items
from components.errors import InputError
from components.run_records import RunDetail
from components.settings import Settings

MOST_RUNS = 6
_NOTHING = "–"
_UNKNOWN = "?"
_TRAINS = {"grad_norm", "learning_rate", "reward"}
_ONCE = ("seconds", "left_out", "steps", "rows", "pairs", "prompts", "trained_tokens")
_SHOWN_FIRST = ["loss", "reward", "kl", "rewards/margins", "rewards/accuracies"]


@dataclass(frozen=True)
class Difference:
    """One thing that isn't the same in all runs, with its value in each."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Scored:
    """A run's scores against the first run's on the same items, or why they can't be compared.

    Attributes:
        left_out: what only this run or only the first one was evaluated on.
    """

    run: str
    comparisons: tuple[Comparison, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)
    why_not: str = ""


def settings_differ(runs: Sequence[RunDetail]) -> list[Difference]:
    """Settings of the recipe that differ, by dotted name; a setting that a run hasn't is shown as a dash.

    One that some runs don't know yet and the others leave empty is no difference.
    """
    return [row for row in _differing(runs, lambda run: run.whole.params) if set(row.values) - {_NOTHING, "null"}]


def packages_differ(runs: Sequence[RunDetail], settings: Settings) -> list[Difference]:
    """Versions of packages that the stages of the runs were made with, where they differ and this machine has the outputs."""
    return _differing(runs, lambda run: _packages(run, settings))


def locks_differ(runs: Sequence[RunDetail], project: Path) -> tuple[list[Difference], list[str]]:
    """Packages that the runs' locks pin to different versions, and runs whose lock this repository never had.

    Args:
        project: the repository's root, whose git history knows the locks.
    """
    digests = {run.whole.tags.get("lock") for run in runs}
    if len(digests) == 1:
        return [], []
    known = {digest: locks.pinned(project, digest, _revision(runs, digest)) for digest in digests if digest}
    found = {run.row.id: known.get(run.whole.tags.get("lock", "")) for run in runs}
    unknown = [run for run, pins in found.items() if pins is None]
    compared = [run for run in runs if run.row.id not in unknown]
    rows = _differing(compared, lambda run: dict(sorted((found[run.row.id] or {}).items())))
    places = {run.row.id: number for number, run in enumerate(compared)}
    filled = [tuple(row.values[places[run.row.id]] if run.row.id in places else _UNKNOWN for run in runs) for row in rows]
    return [Difference(row.name, values) for row, values in zip(rows, filled, strict=True)], unknown


def data_differ(runs: Sequence[RunDetail]) -> list[tuple[str, str, str]]:
    """(run, the first run's data, its own data) of the runs after the first that worked on other data than it."""
    first = runs[0].dataset
    others = [(run.row.id, run.dataset[1]) for run in runs[1:] if run.dataset]
    return [(run, first[1], own) for run, own in others if own != first[1]] if first else []


def origins(runs: Sequence[RunDetail]) -> list[Difference]:
    """Where each run came from: data, code, lock, seed; equal or not."""
    found: dict[str, Callable[[RunDetail], str | None]] = {
        "data": lambda run: run.dataset[1] if run.dataset else None,
        "code": lambda run: run.whole.tags.get("code.revision"),
        "clean": lambda run: run.whole.tags.get("code.clean"),
        "lock": lambda run: run.whole.tags.get("lock"),
        "seed": lambda run: run.whole.params.get("seed"),
    }
    return [Difference(name, tuple(of(run) or _NOTHING for run in runs)) for name, of in found.items()]


def stages_in_common(runs: Sequence[RunDetail]) -> list[str]:
    """Evaluated stages that all runs have, the last one last."""
    names = [list(run.scores) for run in runs]
    return [name for name in names[0] if all(name in others for others in names)] if names else []


def scored(runs: Sequence[RunDetail], stage: str, settings: Settings) -> list[Scored]:
    """Each run after the first against it: better, worse, or no difference shown, with the noise floors that are known."""
    first = _evaluation(runs[0], stage, settings)
    return [_scored(run, stage, first, settings) for run in runs[1:]]


def curves_in_common(runs: Sequence[RunDetail]) -> list[tuple[str, str]]:
    """(stage, metric) of stages that train, of at least one run: losses and rewards first, the base model's last."""
    found: dict[tuple[str, str], None] = {}
    for run in runs:
        for stage in run.stages:
            if _TRAINS & stage.metrics.keys():
                found |= dict.fromkeys((stage.stage, name) for name in stage.metrics if name not in _ONCE)
    return sorted(found, key=lambda pair: (_SHOWN_FIRST.index(pair[1]) if pair[1] in _SHOWN_FIRST else 9, pair[0] == "base"))


def telling(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of (stage, metric) those that say most of each stage: its reward, its margins, else its loss; and how far it went away."""
    found: dict[str, str] = {}
    for metric in ("reward", "rewards/margins", "loss"):
        for stage in [stage for stage, name in pairs if name == metric]:
            found.setdefault(stage, metric)
    return [pair for pair in pairs if found.get(pair[0]) == pair[1] or pair[1] == "kl"]


def costs(runs: Sequence[RunDetail]) -> list[dict[str, Any]]:
    """Seconds, peak memory, trained tokens and size of what came out, one row a run; None where nobody wrote it down."""
    return [
        {
            "run": run.row.id,
            "seconds": run.row.seconds,
            "peak_rss_mb": _number(run.whole.tags.get("peak_rss_mb")),
            "tokens": _sum(run, "trained_tokens", "num_tokens"),
            "bytes": next((s.metrics["bytes"] for s in reversed(run.stages) if "bytes" in s.metrics), None),
            "stages": {stage.stage: stage.seconds for stage in run.stages if stage.status == "ran"},
        }
        for run in runs
    ]


def _revision(runs: Sequence[RunDetail], digest: str) -> str | None:
    return next((run.whole.tags.get("code.revision") for run in runs if run.whole.tags.get("lock") == digest), None)


def _differing(runs: Sequence[RunDetail], of: Callable[[RunDetail], Mapping[str, str]]) -> list[Difference]:
    values = [of(run) for run in runs]
    names = dict.fromkeys(name for each in values for name in each)
    rows = [Difference(name, tuple(each.get(name, _NOTHING) for each in values)) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


def _packages(run: RunDetail, settings: Settings) -> dict[str, str]:
    found: dict[str, str] = {}
    for stage in run.stages:
        if (folder := run_files.output(settings, stage.key)) is not None:
            found |= _manifest(folder / "manifest.json").get("versions", {})
    return dict(sorted(found.items()))


def _manifest(file: Any) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(file.read_bytes())["record"]
    except (OSError, ValueError, KeyError):
        return {}
    return record


def _evaluation(run: RunDetail, stage: str, settings: Settings) -> Any:
    found = run.stage(f"evaluate.{stage}")
    return run_files.output(settings, found.key) if found else None


def _scored(run: RunDetail, stage: str, first: Any, settings: Settings) -> Scored:
    own = _evaluation(run, stage, settings)
    if own is None or first is None:
        return Scored(
            run.row.id, why_not="its answers aren't on this machine, only their scores; evaluate both here to compare item by item"
        )
    try:
        ours, theirs = read_items(own), read_items(first)
        found = compare(ours, theirs, floors=floors_of(own, first, settings))
        return Scored(run.row.id, tuple(found), left_out(ours, theirs))
    except InputError as error:
        return Scored(run.row.id, why_not=str(error))


def _sum(run: RunDetail, *names: str) -> float | None:
    """Sum over the stages of the first of the names that each has."""
    found = [next((s.metrics[name] for name in names if name in s.metrics), None) for s in run.stages]
    numbers = [value for value in found if value is not None]
    return sum(numbers) if numbers else None


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
