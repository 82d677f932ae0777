"""``lapidar plan``: it says what a run would do, and does none of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import recipe
from components.data import versions
from components.settings import Settings
from flows import cli, cli_plan
from flows import plan as plans

TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The plan of the tiny recipe, or another, in a home of the test's own."""
    monkeypatch.chdir(tmp_path)

    def build(*overrides: str, name: str = str(TINY), home: Path = tmp_path / "home") -> dict[str, Any]:
        document = plans.build(recipe.load(name, list(overrides)), Settings(home=home), tmp_path)
        found: dict[str, Any] = json.loads(json.dumps(document))
        return found

    return build


def reasons(document: dict[str, Any]) -> dict[str, list[str]]:
    """Reasons by stage, of those that would run."""
    return {stage["name"]: stage["reasons"] for stage in document["stages"] if stage["status"] == "run"}


def test_without_data_it_says_what_is_missing_and_makes_nothing(plan: Any, tmp_path: Path) -> None:
    document = plan()
    assert document["data"]["status"] == "missing"
    assert document["data"]["rows"]["sft"] == 40
    assert "would be built by wordproblems" in document["data"]["where"]
    assert document["evaluation"] is None
    assert document["recipe"]["sft"]["adapter"]["r"] == 4
    assert "data build" in document["no_rows"]
    assert reasons(document)["base"] == ["follows from data", "never run"]
    assert reasons(document)["register"] == ["follows from verify"]
    assert document["memory"]["peak_mb"] > 600
    assert document["disk"]["needed_mb"] > 0
    assert document["time"]["seconds"] > 1
    assert "base" in document["time"]["guessed"]
    assert not (tmp_path / "home").exists()


def test_rows_are_shown_before_anything_is_trained(plan: Any, tmp_path: Path) -> None:
    loaded = recipe.load(str(TINY))
    built = versions.build(loaded.data, Settings(home=tmp_path / "home"), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    document = plan()
    assert document["data"]["md5"] == built.ref.md5
    assert document["evaluation"] == {"items": 12, "disagreement": 0.2, "detectable": None}, "twelve items show nothing"
    assert "items  12 held out: too few to show a difference between two models in 4 of 5 runs" in "\n".join(
        cli_plan.lines(document)
    )
    assert plan("data.heldout=600", "data.sft=200")["evaluation"] is None
    assert document["rows"]["split"] == "sft"
    assert (document["rows"]["checked"], document["rows"]["left_out"]) == (40, 0)
    assert len(document["rows"]["rows"]) == 3
    for row in document["rows"]["rows"]:
        prompt, answer = row.split("⟦")
        assert prompt.startswith("<s>Question: ")
        assert prompt.endswith("\nAnswer:")
        assert answer.endswith("</s>⟧")
    assert reasons(document)["base"] == ["never run"]
    assert 0 < plan(f"sft.max_length={document['rows']['longest'] - 1}")["rows"]["left_out"] < 40
    assert sorted(tmp_path.rglob("*")) == before


def test_a_version_that_git_names_has_its_md5_before_it_is_here(plan: Any, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    source = recipe.load(str(TINY), ["data.path=data"]).data.model_dump(mode="json", exclude={"path"})
    out = {"md5": f"{'0' * 32}.dir", "size": 1, "nfiles": 2, "hash": "md5", "path": "data"}
    (tmp_path / "data.dvc").write_text(json.dumps({"outs": [out], "meta": {"source": source}}))
    named = plan("data.path=data")["data"]
    assert (named["status"], named["md5"]) == ("missing", out["md5"])
    assert "must have the md5 that data.dvc names" in named["where"]
    assert plan("data.path=data", "data.sft=41")["data"]["md5"] is None
    assert plan()["data"]["md5"] is None


@pytest.mark.parametrize(
    ("name", "parameters", "missing"),
    [
        ("qwen2.5-0.5b", 500_000_000, ["the files of Qwen/Qwen2.5-0.5B at 060db6499f32", "a CUDA GPU"]),
        ("llama-3.2-1b", 1_000_000_000, ["the files of meta-llama/Llama-3.2-1B at 4e20de362430", "a licence", "a CUDA GPU"]),
    ],
)
def test_recipes_for_a_gpu_are_accepted_up_to_the_download(
    plan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, parameters: int, missing: list[str]
) -> None:
    monkeypatch.setenv("LAPIDAR_DEVICE", "cpu")
    document = plan(name=name)
    assert document["model"]["parameters"] == parameters
    assert [text[: len(start)] for text, start in zip(document["missing"], missing, strict=True)] == missing
    assert reasons(document)["base"] == ["follows from the base model's files", "never run"]
    assert [stage["name"] for stage in document["stages"]][-4:] == ["export", "evaluate.export", "verify", "register"]
    assert document["disk"]["download_mb"] > 900
    monkeypatch.setattr(sys, "argv", ["lapidar", "plan", name])
    monkeypatch.setenv("LAPIDAR_HOME", str(tmp_path / "home"))
    assert cli._run(False) == 0


def broken(tiny_llama: Path, folder: Path, how: str) -> Path:
    """A model's folder whose cost can't be told."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_llama, folder)
    config = json.loads((folder / "config.json").read_bytes())
    if how == "layers":
        weights = load_file(folder / "model.safetensors")
        save_file({n: w for n, w in weights.items() if ".layers.1." not in n}, folder / "model.safetensors", {"format": "pt"})
    elif how == "type":
        config["model_type"] = "frobnicate"
    else:
        del config["intermediate_size"], config["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("type", "says model_type='frobnicate', which the installed transformers doesn't know: a run couldn't load it"),
        ("sizes", "(model_type='llama') doesn't say num_hidden_layers, intermediate_size"),
        ("layers", "lacks weights of layer 1: its config.json says 2; copy it again"),
    ],
)
def test_what_a_model_that_is_not_whole_costs_is_not_known(plan: Any, tiny_llama: Path, tmp_path: Path, how: str, why: str) -> None:
    """Never 0, nor the figures of another model."""
    document = plan(f"model.source={broken(tiny_llama, tmp_path / 'model', how)}")
    assert why in document["model"]["parameters_from"]
    assert why in document["memory"]["unknown"]
    assert (document["memory"]["peak_mb"], document["disk"]["needed_mb"], document["time"]["seconds"]) == (None, None, None)
    said = list(cli_plan.lines(document))
    for what in ("memory not known: ", "disk   not known: ", "time   not known: "):
        assert [line for line in said if line.startswith(what) and why in line], said
    assert not [line for line in said if line.startswith(("memory ≈", "disk   ≈", "time   ≈"))]


@pytest.mark.slow
def test_a_finished_home_has_nothing_to_run_and_each_change_is_explained(plan: Any, finished: Any) -> None:
    home = finished[0].path
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    document = plan(home=home)
    assert reasons(document) == {}
    assert document["stages"][-1]["version"] == "models:/tiny/1"
    keys = {stage["name"]: stage["key"] for stage in finished[1]["stages"]}
    assert all(stage["key"] == keys[stage["name"]] for stage in document["stages"] if "key" in stage)

    changed = plan("align.1.lr=3e-3", home=home)
    assert reasons(changed) == {
        "grpo": ["align.1.lr changed from 0.001 to 0.003"],
        "evaluate.grpo": ["follows from grpo"],
        "merge": ["follows from grpo"],
        "export": ["follows from merge"],
        "evaluate.export": ["follows from export"],
        "verify": ["follows from export"],
        "register": ["follows from verify"],
    }
    assert "grpo" in changed["time"]["from_earlier_runs"]
    doubled = plan("align.1.max_steps=12", home=home)
    seconds = {
        name: next(s for s in d["stages"] if s["name"] == "grpo")["seconds"] for name, d in {"1": changed, "2": doubled}.items()
    }
    assert seconds["2"] == pytest.approx(2 * seconds["1"], abs=0.11)

    assert reasons(plan("data.sft=50", home=home))["base"] == ["follows from data"]
    assert reasons(plan("seed=5", home=home))["base"] == ["seed changed from 0 to 5"]
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before

    sealed = home / "store" / "sft" / keys["sft"]
    (sealed / "metrics.json").write_text("{}")
    assert reasons(plan(home=home))["sft"] == ["its sealed output is damaged"]
    assert sealed.exists()
