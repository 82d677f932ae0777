"""The merged model is the trained one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import DatasetRef, Inputs, ModelRef
from components.merge import merge
from components.models.load import load_model
from components.stage import Stage
from components.train import sft

IDS = torch.arange(3, 63).reshape(2, 30)


def logits(ref: ModelRef) -> torch.Tensor:
    model, _ = load_model(ref)
    with torch.inference_mode():
        found: torch.Tensor = model(IDS).logits
    return found


@pytest.fixture
def merged(new_stage: Callable[..., Stage], tiny_data: DatasetRef) -> Callable[[ModelRef], Stage]:
    """Runs the stage."""

    def run(ref: ModelRef) -> Stage:
        stage = new_stage()
        merge.run(merge.Config(), Inputs(tiny_data, {"model": ref}), stage)
        return stage

    return run


def metrics(stage: Stage) -> Any:
    return json.loads((stage.out / "metrics.json").read_bytes())


def test_an_adapter_on_four_bits_is_merged_into_what_it_was_trained_on(
    merged: Callable[[ModelRef], Stage], tiny_sft: ModelRef, tiny_nf4: ModelRef, tiny_llama: Path
) -> None:
    stage = merged(tiny_sft)
    whole = logits(ModelRef(stage.out / "model", None, ""))
    trained = logits(tiny_sft)
    assert (whole - trained).abs().max() < 1e-4
    assert metrics(stage)["max_abs"] < 1e-4
    assert metrics(stage)["top1"] == 1.0
    # the adapter counts, and so does what quantization made of the base
    assert (trained - logits(tiny_nf4)).abs().max() > 0.1
    assert (whole - logits(ModelRef(tiny_llama, tiny_sft.adapter, ""))).abs().max() > 1e-2


@pytest.mark.parametrize("quantizer", [None, "int8"])
def test_other_bases(
    merged: Callable[[ModelRef], Stage],
    tiny_llama: Path,
    tiny_data: DatasetRef,
    new_stage: Callable[..., Stage],
    quantizer: str | None,
) -> None:
    base = ModelRef(tiny_llama, None, "")
    if quantizer is not None:
        from components.quantize import int8

        stage = new_stage()
        int8.run(int8.Config(), Inputs(tiny_data, {"model": base}), stage)
        base = ModelRef(stage.out / "model", None, "")
    stage = new_stage()
    sft.run(sft.Config(lr=1e-2, batch_size=8, max_steps=5), Inputs(tiny_data, {"model": base}), stage)
    trained = ModelRef(base.base, stage.out / "adapter", "")
    done = merged(trained)
    tolerance = 1e-4 if quantizer is None else 0.1  # int8 also rounds activations, which plain weights don't
    assert (logits(ModelRef(done.out / "model", None, "")) - logits(trained)).abs().max() < tolerance
    assert metrics(done)["kl"] < 1e-4


def test_a_quantized_base_alone_is_dequantized(merged: Callable[[ModelRef], Stage], tiny_nf4: ModelRef) -> None:
    stage = merged(tiny_nf4)
    assert (logits(ModelRef(stage.out / "model", None, "")) - logits(tiny_nf4)).abs().max() < 1e-4


def test_what_is_written_is_a_plain_model_that_loads_anywhere(merged: Callable[[ModelRef], Stage], tiny_sft: ModelRef) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = merged(tiny_sft).out / "model"
    config = json.loads((folder / "config.json").read_bytes())
    assert "quantization_config" not in config
    assert not [file.name for file in folder.iterdir() if file.suffix in {".bin", ".pt", ".py"}]
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(tiny_sft.base).chat_template


def test_merging_twice_gives_the_same_bytes(merged: Callable[[ModelRef], Stage], tiny_sft: ModelRef) -> None:
    first, second = (merged(tiny_sft).out / "model" / "model.safetensors" for _ in range(2))
    assert first.read_bytes() == second.read_bytes()
