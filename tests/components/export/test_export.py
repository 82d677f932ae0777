"""Exported models: smaller, close to the merged one, in the format that servers load, the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components import methods
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.errors import InputError
from components.models.load import load_model
from components.stage import Stage
from components.store import content_digest, folder_hashes

CALIBRATED = {"samples": 8, "max_length": 64}
SETTINGS: dict[str, dict[str, Any]] = {"gptq": {"group_size": 32, **CALIBRATED}, "w8a8": CALIBRATED, "fp8": {}}


@pytest.fixture
def export(tiny_llama: Path, new_stage: Callable[..., Stage]) -> Callable[..., Stage]:
    """Runs an exporter on the tiny Llama."""

    def run(method: str, data: DatasetRef, **settings: Any) -> Stage:
        stage, module = new_stage(), methods.load("export", method)
        module.run(
            module.Config(**{**SETTINGS[method], **settings}), Inputs(data, {"model": ModelRef(tiny_llama, None, "")}), stage
        )
        return stage

    return run


def metrics(stage: Stage) -> Any:
    return json.loads((stage.out / "metrics.json").read_bytes())


@pytest.mark.parametrize(("method", "smaller", "kl"), [("gptq", 0.6, 1e-2), ("w8a8", 0.7, 1e-3), ("fp8", 0.7, 1e-3)])
def test_size_loss_and_divergence_are_measured(
    export: Callable[..., Stage], tiny_data: DatasetRef, tiny_llama: Path, method: str, smaller: float, kl: float
) -> None:
    stage = export(method, tiny_data)
    found = metrics(stage)
    assert found["bytes"] == sum(file.stat().st_size for file in (stage.out / "model").glob("*.safetensors"))
    assert found["bytes"] < smaller * found["bytes_before"]
    assert 0 < found["kl"] < kl
    assert found["loss"] == pytest.approx(found["reference_loss"], abs=0.05)
    config = json.loads((stage.out / "model" / "config.json").read_bytes())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    assert config["ignore"] == ["lm_head"]
    model, tokenizer = load_model(ModelRef(stage.out / "model", None, ""))
    with torch.inference_mode():
        assert model(**tokenizer("Tom has 3 apples", return_tensors="pt")).logits.isfinite().all()


def test_gptq_stores_four_bits_in_groups(export: Callable[..., Stage], tiny_data: DatasetRef) -> None:
    def weights(group_size: int) -> Any:
        folder = export("gptq", tiny_data, group_size=group_size).out / "model"
        group = json.loads((folder / "config.json").read_bytes())["quantization_config"]["config_groups"]["group_0"]
        assert group["input_activations"] is None
        assert group["weights"]["num_bits"] == 4
        return group["weights"]

    assert (weights(32)["strategy"], weights(32)["group_size"]) == ("group", 32)
    assert weights(0)["strategy"] == "channel"


@pytest.mark.parametrize("method", SETTINGS)
def test_two_runs_have_the_same_digest(export: Callable[..., Stage], tiny_data: DatasetRef, method: str) -> None:
    """Whatever drew random numbers before."""
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        digests.add(content_digest(folder_hashes(export(method, tiny_data).out)))
    assert len(digests) == 1


def test_calibration_decides_what_gptq_makes(export: Callable[..., Stage], tiny_data: DatasetRef) -> None:
    few, many = ((export("gptq", tiny_data, samples=n).out / "model" / "model.safetensors").read_bytes() for n in (1, 16))
    assert few != many


def test_calibration_falls_back_on_the_corpus(export: Callable[..., Stage], tiny_data: DatasetRef) -> None:
    from dataclasses import replace

    corpus = {name: tiny_data.splits[name] for name in ("corpus", "heldout")}
    export("gptq", replace(tiny_data, splits=corpus))
    with pytest.raises(InputError, match="calibrated on the sft or corpus split, and the dataset has neither"):
        export("gptq", replace(tiny_data, splits={"heldout": tiny_data.splits["heldout"]}))


def test_a_group_that_does_not_fit_names_what_does(export: Callable[..., Stage], tiny_data: DatasetRef) -> None:
    with pytest.raises(
        InputError, match=r"group_size=128 doesn't divide the layers' input widths \[64, 128\]; use a divisor of 64, or 0"
    ):
        export("gptq", tiny_data, group_size=128)


def test_groups_are_checked_whatever_the_architecture_calls_its_widths(tmp_path: Path) -> None:
    from transformers import FalconConfig

    from components.export._llmcompressor import check_group_size

    FalconConfig(vocab_size=40, hidden_size=64, num_hidden_layers=1, num_attention_heads=4, ffn_hidden_size=160).save_pretrained(
        str(tmp_path)
    )
    check_group_size(tmp_path, 32)
    with pytest.raises(InputError, match=r"group_size=64 doesn't divide the layers' input widths \[64, 160\]; use a divisor of 32"):
        check_group_size(tmp_path, 64)
