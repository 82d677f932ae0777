"""Compares two evaluations on the same items, from the ``items.jsonl`` that each evaluation stage writes.

A difference is called *better* or *worse* only where its interval, corrected over everything that is compared at once,
excludes zero **and** it is larger than the noise floor; everything else is *no difference shown*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from components import floors as stored_floors
from components import noise
from components.artifacts import Estimate
from components.bounded import UNIT, Bounds
from components.data import records
from components.errors import InputError
from components.noise import Floor, Floors
from components.paired import ALPHA, Paired, Pairing, family
from components.settings import Settings

ITEMS = "items.jsonl"
Item = Mapping[str, Any]
Call = Literal["better", "worse", "no difference shown"]
Scores = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same items: first minus second.

    Attributes:
        floor: how far two runs lie apart by chance; None where it was never measured.
        null: what *better* is tested against: 0, or the margin by which the first must be better.
    """

    benchmark: str
    metric: str
    paired: Paired
    floor: Floor | None = None
    null: float = 0.0

    @property
    def difference(self) -> Estimate:
        """Mean difference with its interval."""
        return self.paired.difference

    @property
    def above_floor(self) -> bool:
        """Whether the difference is larger than noise alone makes it; a floor that nobody measured hides nothing."""
        return self.floor is None or abs(self.difference.value) > self.floor.half_width

    @property
    def call(self) -> Call:
        """What may be said of the first model."""
        if self.difference.low > self.null and self.above_floor:
            return "better"
        if self.difference.high < 0 and self.above_floor:
            return "worse"
        return "no difference shown"

    def text(self) -> str:
        """Difference, interval and what it may be called, in a line."""
        found, paired = self.difference, self.paired
        interval = f"{100 * paired.confidence:.4g} % interval"
        corrected = f", corrected for {paired.family} comparisons" if paired.family > 1 else ""
        parts = [f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] ({interval}{corrected}; n={found.n})"]
        floor = self.floor and f"noise floor ±{self.floor.half_width:.3f} ({self.floor.runs} runs)"
        parts += [f"{paired.wins} won, {paired.losses} lost, {_p(paired.adjusted)}", floor or "noise floor not measured"]
        return f"{self.call}: {'; '.join(parts)}{self._why()}"

    def _why(self) -> str:
        """Why no difference is shown, where there is one to be seen."""
        if self.call != "no difference shown":
            return ""
        if not self.above_floor and not self.difference.low <= self.null <= self.difference.high:
            return "; the difference lies inside the noise floor"
        least = self.paired.detectable
        if least is None:
            return "; they differ on too few items to show any"
        return f"; these items show differences of {least:.3f} or more"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values; the interval that decides stands at the top: ``value, low, high, n``."""
        paired = {name: value for name, value in asdict(self.paired).items() if name != "difference"}
        floor = asdict(self.floor) if self.floor else None
        found = {"benchmark": self.benchmark, "metric": self.metric, **asdict(self.difference), **paired}
        return found | {"floor": floor, "null": self.null, "call": self.call, "text": self.text()}


@dataclass(frozen=True)
class LeftOut:
    """What only one of two evaluations has, so that it can't be compared: nothing may be left out without a word.

    Attributes:
        first, second: what only the first or only the second has: ``benchmark``, or ``benchmark metric`` where both have the
            benchmark.
    """

    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()


def compare(
    a: Iterable[Item],
    b: Iterable[Item],
    metrics: Collection[str] | None = None,
    floors: Floors | None = None,
    margin: float = 0.0,
) -> list[Comparison]:
    """Every metric that both have, on every benchmark that both have, with Holm's correction over all of them.

    Args:
        a: items of the first model.
        b: items of the second.
        metrics: which metrics; ``metric@group`` takes a group's items only. All whole metrics by default.
        floors: noise floors by benchmark and metric.
        margin: a difference that must be exceeded, instead of zero.

    Raises:
        InputError: if a benchmark's items aren't the same in both, or they have no metric in common.
    """
    a, b = list(a), list(b)
    ours, theirs, spans = by_metric(a, metrics), by_metric(b, metrics), ranges([*a, *b])
    common = [key for key in ours if key in theirs]
    if not common:
        asked = f" named {', '.join(metrics)}" if metrics else ""
        has = "; ".join(f"the {side} has {_named(keys)}" for side, keys in (("first", ours), ("second", theirs)))
        raise InputError(
            f"the two evaluations have no benchmark with a metric{asked} in common ({has}); evaluate both on the same suite"
        )
    return compare_scores(ours, theirs, common, floors or {}, margin, spans)


def compare_scores(
    ours: Mapping[tuple[str, str], Scores],
    theirs: Mapping[tuple[str, str], Scores],
    keys: Collection[tuple[str, str]],
    floors: Floors,
    margin: float = 0.0,
    spans: Mapping[str, Bounds] | None = None,
) -> list[Comparison]:
    """``compare`` on what ``by_metric`` and ``ranges`` made: the metrics of ``keys``, corrected over all of them."""
    pairings = {key: _pairing(key, ours[key], theirs[key], (spans or {}).get(key[0])) for key in keys}
    return [Comparison(*key, paired, floors.get(key), margin) for key, paired in family(pairings, margin).items()]


def compare_folders(a: Path, b: Path, settings: Settings, metrics: Collection[str] | None = None) -> list[Comparison]:
    """Two sealed evaluations, with the noise floors that the database has for them.

    Raises:
        InputError: if a folder holds no evaluation, or the two aren't about the same items.
    """
    return compare(read_items(a), read_items(b), metrics, floors_of(a, b, settings))


def floors_of(a: Path, b: Path, settings: Settings) -> Floors:
    """Noise floors that the database has for the difference of two sealed evaluations."""
    return noise.merged(stored_floors.known(a, settings), stored_floors.known(b, settings))


def left_out(a: Iterable[Item], b: Iterable[Item]) -> LeftOut:
    """What ``compare`` of the same items leaves out because only one side has it."""
    ours, theirs = by_metric(a), by_metric(b)
    return LeftOut(_only(ours, theirs), _only(theirs, ours))


def by_metric(items: Iterable[Item], metrics: Collection[str] | None = None) -> dict[tuple[str, str], Scores]:
    """``{(benchmark, metric): {(id, prompt): score}}``. An item is its id and its prompt: an id with another prompt is another."""
    found: dict[tuple[str, str], Scores] = {}
    for item in items:
        for metric, score in item["scores"].items():
            names = [metric] if metrics is None else [name for name in (metric, f"{metric}@{item.get('group')}") if name in metrics]
            for name in names:
                key = (str(item["id"]), str(item.get("prompt", "")))
                found.setdefault((item["benchmark"], name), {})[key] = float(score)
    return found


def bounds(item: Item) -> Bounds:
    """Between what an item's scores can lie: its ``range``, or 0 and 1."""
    low, high = item.get("range", UNIT)
    return float(low), float(high)


def ranges(items: Iterable[Item]) -> dict[str, Bounds]:
    """``bounds`` by benchmark, where the items say them."""
    return {item["benchmark"]: bounds(item) for item in items if "range" in item}


def read_items(evaluation: Path) -> list[dict[str, Any]]:
    """All items of an evaluation, in the order of the dataset.

    Raises:
        InputError: if the folder holds none, or a line is torn, lacks a field, repeats an item or has a score that is no number.
    """
    file = evaluation / ITEMS
    if not file.is_file():
        raise InputError(f"{evaluation} holds no evaluation: it has no {ITEMS}; give the sealed output of an evaluate stage")
    found, seen = list(records.read(file)), dict[tuple[str, str], int]()
    for number, item in enumerate(found, 1):
        place = f"row {number} of {file}"
        if lacking := next((name for name in ("benchmark", "id", "scores") if item.get(name) is None), None):
            raise InputError(f"{place} has no {lacking!r}; an evaluated item needs benchmark, id and scores")
        for metric, score in item["scores"].items():
            if not _is_number(score):
                raise InputError(f"{place}: score {metric!r} is {score!r}, expected a number")
        span = item.get("range", list(UNIT))
        if not (isinstance(span, list) and len(span) == 2 and all(map(_is_number, span)) and span[0] < span[1]):
            raise InputError(f"{place}: 'range' is {span!r}, expected the least and the largest possible score")
        if (first := seen.setdefault((item["benchmark"], str(item["id"])), number)) != number:
            raise InputError(f"{place} has the benchmark and id of row {first}; an item is evaluated once")
    return found


def _only(ours: Collection[tuple[str, str]], theirs: Collection[tuple[str, str]]) -> tuple[str, ...]:
    shared = {benchmark for benchmark, _ in theirs}
    lacking = [(benchmark, metric) for benchmark, metric in ours if (benchmark, metric) not in theirs]
    return tuple(dict.fromkeys(f"{name} {metric}" if name in shared else name for name, metric in lacking))


def _named(keys: Collection[tuple[str, str]]) -> str:
    return ", ".join(f"{benchmark} {metric}" for benchmark, metric in keys) or "none"


def _p(value: float) -> str:
    """A p-value that rounding doesn't move across 0.05, where the interval begins to hold the null value.

    >>> _p(0.0031), _p(0.0496), _p(0.051)
    ('p=0.0031', 'p<0.05', 'p=0.051')
    """
    return "p<0.05" if value < ALPHA <= float(f"{value:.2g}") else f"p={value:.2g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _pairing(key: tuple[str, str], ours: Scores, theirs: Scores, span: Bounds | None) -> Pairing:
    if ours.keys() != theirs.keys():
        raise InputError(
            f"{key[0]}: the two evaluations hold other items ({len(ours.keys() - theirs.keys())} only in the first, "
            f"{len(theirs.keys() - ours.keys())} only in the second); evaluate both on the same data version"
        )
    return Pairing([ours[item] for item in ours], [theirs[item] for item in ours], bounds=span)
