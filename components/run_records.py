"""What is known of past and present runs, whoever says it: the tracker (``mlflow_reader``) or a run's own folder (``run_files``).

Both give records of a run and of its stages; what a page shows is made of them here. Pure::

    Record(stage="sft", name="sft", status="ran", began=…, ended=…, params={"lr": "0.002"}, tags={…}, metrics={"loss": 0.62})
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

PARENT = ""
"""Stage of the record that is about the whole run."""
_ENDS = ("value", "low", "high", "n")
Row = TypeVar("Row")


@dataclass
class Record:
    """A run or one of its stages.

    Attributes:
        stage: its name, or ``PARENT``.
        name: the recipe's name for the whole run.
        status: ``running, finished, ran, cached, failed, killed``.
        began, ended: milliseconds since 1970.
        metrics: the last value of each.
        tags: without the prefix ``lapidar.``.
        tracker_id: the tracker's id, if it has it.
        dataset: name and digest of the dataset version.
    """

    stage: str
    name: str
    status: str = "running"
    began: int | None = None
    ended: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tracker_id: str | None = None
    dataset: tuple[str, str] | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it goes on."""
        if (said := self.metrics.get("seconds")) is not None:
            return said
        return None if self.ended is None or self.began is None else max(0.0, (self.ended - self.began) / 1000)

    @property
    def key(self) -> str | None:
        """The stage's key, which names its folder in the store."""
        return self.tags.get("stage.key")


@dataclass(frozen=True)
class RunRow:
    """A line of the table of runs.

    Attributes:
        scores: of the last evaluated stage: ``{"gsm8k.accuracy": {value, low, high, n}}``.
        gate: ``pass, fail, unknown``, or None where it doesn't say.
        version: ``models:/name/3`` if it registered one.
    """

    id: str
    name: str
    status: str
    began: datetime | None
    seconds: float | None
    scores: Mapping[str, Mapping[str, float]]
    gate: str | None = None
    version: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class RunDetail:
    """A run with its stages, in the order in which they began."""

    row: RunRow
    whole: Record
    stages: Sequence[Record]

    def stage(self, name: str) -> Record | None:
        """A stage by name."""
        return next((each for each in self.stages if each.stage == name), None)

    @property
    def dataset(self) -> tuple[str, str] | None:
        """Name and digest of the dataset version that it worked on."""
        return next((each.dataset for each in (self.whole, *self.stages) if each.dataset), None)

    @property
    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """``{evaluated stage: {"gsm8k.accuracy": {value, low, high, n}}}``."""
        evaluated = [each for each in self.stages if each.stage.startswith("evaluate.")]
        found = {each.stage.removeprefix("evaluate."): estimates(each.metrics) for each in evaluated}
        return {name: scores for name, scores in found.items() if scores}


@dataclass(frozen=True)
class Curve:
    """One metric of one stage over its steps.

    Attributes:
        times: seconds since the stage began.
    """

    run: str
    stage: str
    metric: str
    steps: Sequence[int]
    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of many.

    Attributes:
        number: from 1.
        more: whether there is a next page.
        note: why these rows may not be all, e.g. that the tracker is down.
    """

    rows: Sequence[Row]
    number: int = 1
    more: bool = False
    note: str | None = None


def estimates(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Estimates with their intervals, from names that end in their parts.

    >>> estimates({"svamp.accuracy.value": 0.5, "svamp.accuracy.low": 0.4, "svamp.accuracy.high": 0.6, "loss": 1.0})
    {'svamp.accuracy': {'value': 0.5, 'low': 0.4, 'high': 0.6}}
    """
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        whole, _, end = name.rpartition(".")
        if end in _ENDS and f"{whole}.value" in metrics and f"{whole}.low" in metrics:
            found.setdefault(whole, {})[end] = value
    return found


def row(run: str, whole: Record) -> RunRow:
    """The line of a run in the table."""
    return RunRow(
        id=run,
        name=whole.name,
        status=whole.status,
        began=moment(whole.began),
        seconds=whole.seconds,
        scores=estimates(whole.metrics),
        gate=whole.tags.get("gate"),
        version=whole.tags.get("version"),
        revision=whole.tags.get("code.revision"),
    )


def detail(run: str, records: Sequence[Record]) -> RunDetail:
    """A run from its records, the whole run's among them. Stages that a dead run left open died with it."""
    whole = next(each for each in records if each.stage == PARENT)
    stages = sorted((each for each in records if each.stage != PARENT), key=lambda each: each.began or 0)
    if whole.status != "running":
        for each in stages:
            each.status = "killed" if each.status == "running" else each.status
    found = row(run, whole)
    if not found.scores and (evaluated := [estimates(s.metrics) for s in stages if s.stage.startswith("evaluate.")]):
        found = RunRow(**{**vars(found), "scores": evaluated[-1]})
    return RunDetail(found, whole, stages)


def moment(milliseconds: int | None) -> datetime | None:
    """A time in UTC from milliseconds since 1970."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def curve(run: str, stage: str, metric: str, points: Sequence[tuple[int, float, int]], began: int | None) -> Curve:
    """A curve from points (step, value, milliseconds since 1970), in any order; the last one of a step counts."""
    last = {step: (value, at) for step, value, at in sorted(points, key=lambda point: point[2])}
    steps = sorted(last)
    start = began if began is not None else min((at for _, at in last.values()), default=0)
    return Curve(run, stage, metric, steps, [max(0.0, (last[s][1] - start) / 1000) for s in steps], [last[s][0] for s in steps])


def thinned(found: Curve, most: int) -> Curve:
    """A curve of at most that many points, with all its extremes in their places; see ``extremes``."""
    kept = extremes(found.values, most)
    return replace(
        found, steps=[found.steps[i] for i in kept], times=[found.times[i] for i in kept], values=[found.values[i] for i in kept]
    )


def extremes(values: Sequence[float], most: int) -> list[int]:
    """Places of at most ``most`` values that look like all of them: the first, the last, and the least and the greatest of each
    of many parts of equal length. What isn't finite counts as neither.

    >>> extremes([1, 1, 9, 1, 1, -3, 1, 1], 6)
    [0, 1, 2, 4, 5, 7]
    """
    if len(values) <= most:
        return list(range(len(values)))
    parts, inner = max(1, (most - 2) // 2), len(values) - 2
    kept = {0, len(values) - 1}
    for part in range(parts):
        places = range(1 + part * inner // parts, 1 + (part + 1) * inner // parts)
        finite = [place for place in places if math.isfinite(values[place])]
        if finite:
            kept |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    return sorted(kept)


def to_plain(found: RunRow) -> dict[str, Any]:
    """A line of the table as JSON-ready values, for exports."""
    scores = {f"{name}.{end}": value for name, parts in found.scores.items() for end, value in parts.items()}
    began = found.began.isoformat(timespec="seconds") if found.began else None
    plain = {"run": found.id, "recipe": found.name, "status": found.status, "began": began, "seconds": found.seconds}
    return {**plain, "gate": found.gate, "version": found.version, "revision": found.revision, **scores}


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average without the pull towards zero at its beginning (Kingma and Ba 2015, arXiv 1412.6980, §3).

    Values that aren't finite are left out of the average and stand for themselves.

    Args:
        weight: of the past, from 0 (nothing is smoothed) to below 1.
    """
    found, average, total = [], 0.0, 0.0
    for value in values:
        if not math.isfinite(value):
            found.append(value)
            continue
        average = weight * average + (1 - weight) * value
        total = weight * total + (1 - weight)
        found.append(average / total)
    return found
