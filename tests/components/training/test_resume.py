"""A training that was broken off goes on from its checkpoint and ends with the weights of an uninterrupted one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from components import events
from components.adapters.lora import Config as LoraConfig
from components.align import dpo, grpo, kto
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.events import EventWriter
from components.rewards import length
from components.stage import Stage
from components.train import sft

COMMON: dict[str, Any] = {"batch_size": 8, "max_steps": 8, "checkpoint_every": 3, "logging_every": 2, "lr": 1e-3}
GRPO = {"num_generations": 4, "max_prompt_length": 120, "max_completion_length": 8, "beta": 0.1}
CONFIGS = {
    "sft": sft.Config(**COMMON, adapter=LoraConfig(r=4, dropout=0.1)),
    "dpo": dpo.Config(**COMMON),
    "kto": kto.Config(**COMMON),
    "grpo": grpo.Config(**COMMON, **GRPO, rewards=[length.Config(least=3, most=5, slack=12)]),
}
MODULES = {"sft": sft, "dpo": dpo, "kto": kto, "grpo": grpo}


class Interrupting(EventWriter):
    """Breaks the training off at a step, as a signal would."""

    def progress(self, done: int, total: int) -> None:
        super().progress(done, total)
        if done == 5:
            raise KeyboardInterrupt


def run(method: str, model: ModelRef, data: DatasetRef, stage: Stage) -> None:
    from transformers import set_seed

    set_seed(stage.seed)
    MODULES[method].run(CONFIGS[method], Inputs(data, {"model": model}), stage)


@pytest.mark.parametrize("method", CONFIGS)
def test_it_ends_with_the_same_weights(
    tiny_nf4: ModelRef, tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage], method: str
) -> None:
    model = tiny_nf4 if method == "sft" else tiny_sft
    whole, cut = new_stage(), new_stage()
    run(method, model, tiny_data, whole)
    with contextlib.suppress(KeyboardInterrupt):
        run(method, model, tiny_data, replace(cut, events=Interrupting(cut.events.path)))
    assert not (cut.out / "adapter").exists()
    run(method, model, tiny_data, cut)
    steps = [event["done"] for event in events.read(cut.events.path)[0] if event["kind"] == "progress"]
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert [path.name for path in whole.work.glob("checkpoint-*")] == [
        "checkpoint-4"
    ]  # 3, rounded up to whole windows; 8 would train a ninth step
    assert weights(cut).read_bytes() == weights(whole).read_bytes()
    assert (cut.out / "metrics.json").read_bytes() == (whole.out / "metrics.json").read_bytes()


def weights(stage: Stage) -> Path:
    return stage.out / "adapter" / "adapter_model.safetensors"


def test_the_adapter_of_a_quantized_base_trains_in_float32(
    tiny_nf4: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    """TRL would round it to bfloat16, which loses updates below a 256th of a weight."""
    stage = new_stage()
    run("sft", tiny_nf4, tiny_data, stage)
    for weight in load_file(weights(stage)).values():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, weight.bfloat16().float())
