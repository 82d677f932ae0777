"""Parity notices whatever a hand-over changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.artifacts import DatasetRef, Inputs, ModelRef
from components.events import EventWriter
from components.export import gptq
from components.merge import merge
from components.stage import Stage
from components.verify import parity


@pytest.fixture(scope="module")
def made(tiny_sft: ModelRef, tiny_data: DatasetRef, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of what a run makes: adapter, merged, export."""
    assert tiny_sft.adapter is not None

    def stage(name: str) -> Stage:
        folder = tmp_path_factory.mktemp(name)
        (folder / "out").mkdir()
        return Stage(folder / "out", folder, 0, "cpu", EventWriter(folder / "events.jsonl"))

    merged, exported = stage("merged"), stage("exported")
    merge.run(merge.Config(), Inputs(tiny_data, {"model": tiny_sft}), merged)
    plain = ModelRef(merged.out / "model", None, "")
    gptq.run(gptq.Config(group_size=32, samples=8, max_length=64), Inputs(tiny_data, {"model": plain}), exported)
    return {"adapter": tiny_sft.adapter, "merged": plain.base, "export": exported.out / "model"}


@pytest.fixture
def models(made: dict[str, Path], tiny_sft: ModelRef, tmp_path: Path) -> dict[str, ModelRef]:
    """All roles of a whole run, in files of the test's own; the copies stand where the registry's would."""
    here, copy = ({name: tmp_path / place / name for name in made} for place in ("here", "registry"))
    for name, folder in made.items():
        shutil.copytree(folder, here[name])
        shutil.copytree(folder, copy[name])
    return {
        "trained": ModelRef(tiny_sft.base, here["adapter"], ""),
        "merged": ModelRef(here["merged"], None, ""),
        "export": ModelRef(here["export"], None, ""),
        "reloaded": ModelRef(tiny_sft.base, copy["adapter"], ""),
        "reloaded_merged": ModelRef(copy["merged"], None, ""),
        "reloaded_exported": ModelRef(copy["export"], None, ""),
    }


@pytest.fixture
def verify(models: dict[str, ModelRef], tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> Callable[..., Any]:
    """Runs the stage; some roles may be left out."""

    def run(*without: str) -> Any:
        stage = new_stage()
        given = {role: ref for role, ref in models.items() if role not in without}
        parity.run(parity.Config(prompts=4, continue_tokens=6), Inputs(tiny_data, given), stage)
        return json.loads((stage.out / "metrics.json").read_bytes())

    return run


def tamper(file: Path, pick: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    weights = load_file(file)
    name = next(name for name in sorted(weights) if pick in name)
    weights[name] = change(weights[name])
    save_file(weights, file, metadata={"format": "pt"})


def test_untouched_copies_pass(verify: Callable[..., Any]) -> None:
    report = verify()
    assert report["ok"] is True
    for name in ("reload", "reload_merged", "reload_exported"):
        assert report[name] == {"identical_tokens": True, "max_logit_difference": 0.0, "kl": 0.0, "top1": 1.0, "ok": True}
    assert report["merged"]["ok"]
    assert report["merged"]["max_logit_difference"] < 1e-4
    assert report["exported"]["kl"] > 0


@pytest.mark.parametrize(
    ("role", "file", "pick", "check"),
    [
        ("reloaded", "adapter_model.safetensors", "lora_B", "reload"),
        ("reloaded_merged", "model.safetensors", "down_proj", "reload_merged"),
        ("reloaded_exported", "model.safetensors", "weight_scale", "reload_exported"),
    ],
)
def test_one_changed_number_in_a_copy_is_noticed(
    verify: Callable[..., Any], models: dict[str, ModelRef], role: str, file: str, pick: str, check: str
) -> None:
    folder = models[role].adapter or models[role].base

    def change(weight: torch.Tensor) -> torch.Tensor:
        weight = weight.clone()
        weight.view(-1)[0] += 0.1
        return weight

    tamper(folder / file, pick, change)
    report = verify()
    assert report["ok"] is False
    assert [name for name in ("reload", "reload_merged", "reload_exported") if not report[name]["ok"]] == [check]
    assert report[check]["max_logit_difference"] > parity.RELOAD_TOLERANCE


def test_freshly_initialised_weights_are_noticed(verify: Callable[..., Any], models: dict[str, ModelRef]) -> None:
    """What MLflow's own flavor gave back for an adapter over a local base: a model that nobody trained."""
    for name in ("lora_A", "lora_B"):
        tamper(models["reloaded"].adapter / "adapter_model.safetensors", name, torch.zeros_like)  # type: ignore[operator]
    report = verify()
    assert not report["ok"]
    assert not report["reload"]["ok"]


def test_weights_that_are_no_numbers_equal_nothing(verify: Callable[..., Any], models: dict[str, ModelRef]) -> None:
    for role in ("merged", "reloaded_merged"):
        tamper(models[role].base / "model.safetensors", "norm", lambda weight: torch.full_like(weight, float("nan")))
    report = verify("export", "reloaded_exported")
    assert not report["ok"]
    assert not report["reload_merged"]["ok"]
    assert not report["merged"]["ok"]


def test_another_chat_template_is_noticed(verify: Callable[..., Any], models: dict[str, ModelRef]) -> None:
    template = models["reloaded_merged"].base / "chat_template.jinja"
    template.write_text(template.read_text().replace("Answer:", "Reply:"))
    report = verify()
    assert not report["ok"]
    assert report["reload_merged"]["max_logit_difference"] == 0.0
    assert not report["reload_merged"]["identical_tokens"]


def test_a_merge_into_the_wrong_base_is_noticed(verify: Callable[..., Any], models: dict[str, ModelRef]) -> None:
    tamper(models["merged"].base / "model.safetensors", "down_proj", torch.ones_like)
    shutil.copyfile(models["merged"].base / "model.safetensors", models["reloaded_merged"].base / "model.safetensors")
    report = verify()
    assert not report["ok"]
    assert not report["merged"]["ok"]
    assert report["reload_merged"]["ok"]


def test_without_a_reload_nothing_is_proven(verify: Callable[..., Any]) -> None:
    assert verify("reloaded")["ok"] is False
