"""Noise floors in the database, by model × benchmark × settings, so that every comparison, summary and gate finds them.

They come from evaluations with ``reruns: 2`` or more. Sample of the ``reruns.json`` that these write::

    {"gsm8k": {"accuracy": [0.412, 0.405]}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from components.database.engine import Database, open_database
from components.database.models import NoiseFloor
from components.errors import InputError
from components.noise import LEAST_RUNS, Floor, floor
from components.settings import Settings
from components.store import MANIFEST

RERUNS, SPEC, METRICS = "reruns.json", "spec.json", "metrics.json"
_ASKED = ("benchmark", "num_fewshot", "lm_eval", "data")


@dataclass(frozen=True)
class Subject:
    """What a floor belongs to.

    Attributes:
        model: digest of the evaluated model.
        settings: sha256 of what decides how it is asked, by benchmark.
    """

    model: str
    settings: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)


def subject(evaluation: Path) -> Subject | None:
    """What a sealed evaluation was of; None for a folder that doesn't say."""
    try:
        record = json.loads((evaluation / MANIFEST).read_bytes())["record"]
        model = record["inputs"]["model:model"]
    except (FileNotFoundError, KeyError):
        return None
    if (evaluation / SPEC).exists():
        specs = json.loads((evaluation / SPEC).read_bytes())
        asked = {name: {part: spec.get(part) for part in _ASKED} for name, spec in specs.items()}
    else:
        whole = {name: value for name, value in record["config"].items() if name != "reruns"}
        data = {name: value for name, value in record["inputs"].items() if name.startswith("data:")}
        asked = {name: {"config": whole, "data": data} for name in _read(evaluation / METRICS)}
    digests = {name: hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest() for name, spec in asked.items()}
    return Subject(str(model), digests)


def scores(evaluation: Path) -> dict[tuple[str, str], list[float]]:
    """Scores of all runs of an evaluation with reruns, the first among them; empty for one without.

    Raises:
        InputError: if there was one rerun only.
    """
    reruns, first = _read(evaluation / RERUNS), _read(evaluation / METRICS)
    found = {}
    for benchmark, metrics in reruns.items():
        for metric, means in metrics.items():
            if len(means) + 1 < LEAST_RUNS:
                raise InputError(
                    f"{evaluation / RERUNS}: {benchmark} {metric} was run again {len(means)} time only, which gives no noise "
                    f"floor; set evaluate.reruns={LEAST_RUNS - 1} or higher"
                )
            own = first.get(benchmark, {}).get(metric, {}).get("value")
            found[benchmark, metric] = [float(value) for value in ([own] if own is not None else []) + means]
    return found


class NoiseFloors:
    """The floors in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, of: Subject, runs: Mapping[tuple[str, str], Sequence[float]]) -> None:
        """Keeps the scores of a subject's runs; later ones take the place of earlier ones unless these were more."""
        with self._database.write() as session:
            for (benchmark, metric), values in runs.items():
                if benchmark not in of.settings:
                    continue
                key = {"model": of.model, "benchmark": benchmark, "metric": metric, "settings": of.settings[benchmark]}
                row = session.scalars(select(NoiseFloor).filter_by(**key).with_for_update()).one_or_none()
                if row is None:
                    row = NoiseFloor(**key, runs=0)
                    session.add(row)
                if len(values) >= row.runs:
                    row.runs, row.scores = len(values), json.dumps(list(values))
                    row.half_width = floor(values).half_width

    def find(self, of: Subject) -> dict[tuple[str, str], Floor]:
        """All floors of a subject."""
        with self._database.read() as session:
            rows = session.scalars(select(NoiseFloor).filter_by(model=of.model)).all()
            return {
                (row.benchmark, row.metric): Floor(row.half_width, row.runs)
                for row in rows
                if of.settings.get(row.benchmark) == row.settings
            }


def known(evaluation: Path, settings: Settings) -> dict[tuple[str, str], Floor]:
    """Floors of an evaluation's model under its settings; what its own reruns say is put into the database first.

    Raises:
        InputError: if it was run again only once.
    """
    of = subject(evaluation)
    if of is None:
        return {key: floor(values) for key, values in scores(evaluation).items()}
    floors = NoiseFloors(open_database(settings))
    if runs := scores(evaluation):
        floors.remember(of, runs)
    return floors.find(of)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes()) if path.exists() else {}
