"""Noise floors: what a half-width is worth, and where it is kept and found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import floors, noise
from components.comparison import compare_folders
from components.database.engine import open_database
from components.errors import InputError
from components.floors import NoiseFloors, Subject
from components.noise import Floor, floor
from components.settings import Settings


@pytest.mark.parametrize("runs", [3, 5, 12])
def test_two_further_runs_lie_within_the_floor_in_95_percent_of_cases(runs: int) -> None:
    """Also from three runs: that is what Student's quantile is for; the normal one would hold in 82 % of cases."""
    rng, trials, inside = np.random.default_rng(runs), 4000, 0
    for _ in range(trials):
        width = floor(list(rng.normal(0.5, 0.02, runs))).half_width
        inside += abs(rng.normal(0.5, 0.02) - rng.normal(0.5, 0.02)) <= width
    assert inside / trials == pytest.approx(0.95, abs=0.015)


def test_equal_runs_have_no_noise() -> None:
    assert floor([0.4, 0.4, 0.4]) == Floor(0.0, 3)


@pytest.mark.parametrize("scores", [[], [0.4], [0.4, 0.5]])
def test_too_few_runs_give_no_floor(scores: list[float]) -> None:
    with pytest.raises(InputError, match="give no noise floor; it takes 3 or more"):
        floor(scores)
    with pytest.raises(InputError, match="nan"):
        floor([0.1, 0.2, float("nan")])


def test_a_difference_is_as_noisy_as_both_models_together() -> None:
    a, b = Floor(0.03, 4), Floor(0.04, 3)
    assert noise.between(a, b) == Floor(pytest.approx((0.0009 / 2 + 0.0016 / 2) ** 0.5), 3)
    assert noise.between(a, None) == noise.between(None, a) == a
    known = {("x", "m"): a}
    assert noise.from_json(json.loads(json.dumps(noise.to_json(known)))) == known


def sealed(folder: Path, scores: list[float] | None, model: str = "m1", right: int = 10, **config: Any) -> Path:
    """What a sealed evaluation looks like."""
    folder.mkdir()
    record = {"inputs": {"model:model": model, "data:heldout": "h"}, "config": {"method": "harness", "reruns": 2} | config}
    (folder / "manifest.json").write_text(json.dumps({"record": record}))
    (folder / "metrics.json").write_text(json.dumps({"sums": {"accuracy": {"value": 0.5}}}))
    rows = [{"benchmark": "sums", "id": i, "prompt": f"p{i}", "scores": {"accuracy": float(i < right)}} for i in range(40)]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if scores is not None:
        (folder / "reruns.json").write_text(json.dumps({"sums": {"accuracy": scores}}))
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_a_floor_is_found_by_model_benchmark_and_settings(tmp_path: Path, settings: Settings) -> None:
    measured = floors.known(sealed(tmp_path / "a", [0.52, 0.46]), settings)
    assert measured == {("sums", "accuracy"): floor([0.5, 0.52, 0.46])}
    assert floors.known(sealed(tmp_path / "b", None, reruns=0), settings) == measured, "how often it was rerun is no setting"
    assert floors.known(sealed(tmp_path / "c", None, model="m2"), settings) == {}
    assert floors.known(sealed(tmp_path / "d", None, num_fewshot=3), settings) == {}


def test_more_runs_take_the_place_of_fewer(settings: Settings) -> None:
    kept, of = NoiseFloors(open_database(settings)), Subject("m", {"sums": "s"})
    for runs in ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.2], [0.5, 0.9, 0.1]):
        kept.remember(of, {("sums", "accuracy"): runs, ("unknown", "accuracy"): runs})
    assert kept.find(of) == {("sums", "accuracy"): floor([0.1, 0.2, 0.3, 0.2])}


def test_one_rerun_is_no_floor(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match=r"sums accuracy was run again 1 time only, which gives no noise floor; set evaluate"):
        floors.known(sealed(tmp_path / "a", [0.52]), settings)


def test_comparing_folders_uses_the_floors_of_both(tmp_path: Path, settings: Settings) -> None:
    a, b = sealed(tmp_path / "a", [0.5, 0.5], right=30), sealed(tmp_path / "b", [0.1, 0.9], "m2")
    [found] = compare_folders(a, b, settings)
    assert found.floor == noise.between(floor([0.5] * 3), floor([0.5, 0.1, 0.9]))
    assert found.call == "no difference shown"
