"""The stage: a planted leak is named, and equal inputs give equal bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from components import graph, recipe
from components.artifacts import BenchmarkRef, DatasetRef, Inputs
from components.contamination.scores import read_matches
from components.recipe import Recipe
from components.screen import screen
from components.stage import Stage
from tests.conftest import TINY

CONFIG = screen.Config.model_validate(
    {"methods": [{"method": "exact"}, {"method": "ngram", "long": 40, "share": 1.0}], "require": ["exact", "ngram"]}
)


@pytest.fixture
def leaky(tiny_data: DatasetRef, tmp_path: Path) -> tuple[DatasetRef, str]:
    """The tiny dataset with a held-out problem in its SFT rows, and the problem's id."""
    folder = tmp_path / "leaky"
    shutil.copytree(tiny_data.path, folder)
    held = json.loads((folder / "heldout.jsonl").read_bytes().split(b"\n")[2])
    with (folder / "sft.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": f"Please:  {held['prompt'].upper()}", "completion": held["answer"]}) + "\n")
    return replace(tiny_data, path=folder), held["id"]


def test_the_recipes_own_splits_are_clean(tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    screen.run(CONFIG, Inputs(tiny_data, {}), stage)
    metrics = json.loads((stage.out / "metrics.json").read_bytes())
    assert metrics["state"] == "clean"
    assert metrics["rows"] == {f"{name}.jsonl": tiny_data.splits[name].rows for name in ("corpus", "sft", "preference", "prompts")}  # type: ignore[index]
    assert read_matches(stage.out) == []


def test_a_planted_leak_is_named_with_row_and_both_texts(leaky: tuple[DatasetRef, str], new_stage: Callable[..., Stage]) -> None:
    data, leaked = leaky
    stage, again = new_stage(), new_stage(seed=1)
    screen.run(CONFIG, Inputs(data, {}), stage)
    screen.run(CONFIG, Inputs(data, {}), again)
    metrics = json.loads((stage.out / "metrics.json").read_bytes())
    assert metrics["state"] == "contaminated"
    assert metrics["benchmarks"]["heldout"]["flagged"] == 1
    for match in read_matches(stage.out):
        assert (match["id"], match["split"], match["row"]) == (leaked, "sft", data.splits["sft"].rows + 1)
        assert match["item"].upper() in match["training"]
    assert {match["method"] for match in read_matches(stage.out)} == {"exact", "ngram"}
    for name in ("metrics.json", "matches.jsonl"):
        assert (stage.out / name).read_bytes() == (again.out / name).read_bytes()


def test_what_is_required_and_not_chosen_is_not_clean(tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    screen.run(screen.Config.model_validate({"methods": [{"method": "exact"}]}), Inputs(tiny_data, {}), stage)
    metrics = json.loads((stage.out / "metrics.json").read_bytes())
    assert metrics["state"] == "not checked"
    assert "rephrased: it was switched off" in metrics["reason"]


def test_a_recipe_has_the_stage_only_if_it_asks_for_it(tiny_recipe: Recipe) -> None:
    assert "contamination" not in [node.name for node in graph.build(tiny_recipe).nodes]
    node = graph.build(recipe.load("quickstart")).node("contamination")
    assert (node.module, node.models) == ("components.screen.screen", {})
    assert set(node.splits) == {"corpus", "sft", "preference", "prompts", "heldout"}
    assert "components.contamination.detectors.ngram" in node.modules


def test_stored_benchmarks_of_the_evaluation_reach_the_stage(tmp_path: Path, tiny_data: DatasetRef) -> None:
    asked = ["contamination={}", "evaluate.benchmarks=[{method: wordproblems}, {method: mmlu_pro}]"]
    node = graph.build(recipe.load(str(TINY), asked)).node("contamination")
    (tmp_path / "benchmark.json").write_text('{"name": "mmlu_pro"}')
    (tmp_path / "items.jsonl").write_text(
        json.dumps({"id": "7", "question": "Which green frog sang?", "options": ["a", "b"]}) + "\n"
    )
    refs = {name: BenchmarkRef(name, tmp_path, "md5") for name in ("mmlu_pro", "gsm8k")}
    given = graph.inputs(node, tiny_data, {}, {}, refs)
    assert list(given.benchmarks) == ["mmlu_pro"]
    assert [benchmark.name for benchmark in screen._benchmarks(given)] == ["heldout", "mmlu_pro"]
