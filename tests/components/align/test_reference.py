"""DPO, KTO and GRPO go on from what SFT made, held to the policy as it was before them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from components import events
from components.align import dpo, grpo, kto
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.rewards import length
from components.stage import Stage

DPO = {"batch_size": 8, "max_steps": 3, "logging_every": 1, "warmup": 0.0, "schedule": "constant_with_warmup"}
KTO = {**DPO, "batch_size": 16, "rows": "pairs"}
GRPO = {**DPO, "num_generations": 4, "max_prompt_length": 120, "max_completion_length": 12}
GRPO |= {"rewards": [length.Config(least=3, most=5, slack=12)]}


def logged(stage: Stage, name: str) -> list[float]:
    """A metric step by step."""
    return [event["value"] for event in events.metrics(stage.events.path) if event["name"] == name]


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "adapter_model.safetensors")
    return found


def distance(first: Path, second: Path) -> float:
    """Largest difference of a weight; both adapters have the same weights."""
    one, other = adapter(first), adapter(second)
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def run(method: Any, settings: dict[str, Any], model: ModelRef, data: DatasetRef, stage: Stage) -> Stage:
    torch.manual_seed(0)
    method.run(method.Config(**settings), Inputs(data, {"model": model}), stage)
    return stage


def test_sft_has_moved_the_policy_off_its_base(tiny_sft: ModelRef) -> None:
    """Else the tests below could not tell one reference from the other."""
    assert tiny_sft.adapter is not None
    assert max(float(weight.abs().max()) for name, weight in adapter(tiny_sft.adapter).items() if "lora_B" in name) > 0.01


def test_dpo_begins_where_sft_ended(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = run(dpo, {**DPO, "lr": 1e-3}, tiny_sft, tiny_data, new_stage())
    losses = logged(stage, "loss")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert logged(stage, "rewards/margins")[0] == pytest.approx(0, abs=1e-5)
    assert losses[2] < losses[0]


def test_dpo_of_a_whole_model_begins_there_too(tiny_llama: Path, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = run(dpo, {**DPO, "lr": 1e-3}, ModelRef(tiny_llama, None, ""), tiny_data, new_stage())
    losses = logged(stage, "loss")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[2] < losses[0]
    assert (stage.out / "model" / "model.safetensors").is_file()


def test_beta_scales_the_loss(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    small, large = (run(dpo, {**DPO, "lr": 1e-3, "beta": beta}, tiny_sft, tiny_data, new_stage()) for beta in (0.1, 0.5))
    assert logged(small, "loss")[1] > logged(large, "loss")[1]


def test_kto_begins_where_sft_ended(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    """At the reference every answer is worth 0 and the KL is 0, so the loss is 1 - sigmoid(0) for both kinds (eq. 8)."""
    stage = run(kto, {**KTO, "lr": 1e-2}, tiny_sft, tiny_data, new_stage())
    losses = logged(stage, "loss")
    assert losses[0] == pytest.approx(0.5, abs=1e-5)
    assert logged(stage, "rewards/chosen")[0] == pytest.approx(0, abs=1e-5)
    assert logged(stage, "kl")[0] == pytest.approx(0, abs=1e-4)
    assert losses[2] < losses[0]
    assert logged(stage, "rewards/margins")[2] > 0


def test_kto_of_a_whole_model_begins_there_too(tiny_llama: Path, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = run(kto, {**KTO, "lr": 1e-3}, ModelRef(tiny_llama, None, ""), tiny_data, new_stage())
    assert logged(stage, "loss")[0] == pytest.approx(0.5, abs=1e-5)
    assert (stage.out / "model" / "model.safetensors").is_file()


def test_grpo_begins_where_its_reference_is(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = run(grpo, {**GRPO, "lr": 1e-2, "beta": 0.1}, tiny_sft, tiny_data, new_stage())
    kl = logged(stage, "kl")
    assert kl[0] == pytest.approx(0, abs=1e-5)
    assert kl[2] > 1e-5


@pytest.mark.parametrize(("method", "settings"), [(dpo, DPO), (kto, KTO), (grpo, GRPO)], ids=["dpo", "kto", "grpo"])
def test_they_train_the_adapter_of_sft(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage], method: Any, settings: dict[str, Any]
) -> None:
    stage = run(method, {**settings, "lr": 1e-6}, tiny_sft, tiny_data, new_stage())
    assert tiny_sft.adapter is not None
    assert 0 < distance(stage.out / "adapter", tiny_sft.adapter) < 1e-5
    assert sorted(path.name for path in (stage.out / "adapter").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (stage.out / "adapter" / "adapter_config.json").read_bytes() == (tiny_sft.adapter / "adapter_config.json").read_bytes()


@pytest.mark.parametrize(("method", "settings"), [(dpo, DPO), (kto, KTO), (grpo, GRPO)], ids=["dpo", "kto", "grpo"])
def test_equal_runs_make_equal_bytes(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage], method: Any, settings: dict[str, Any]
) -> None:
    first, second = (run(method, {**settings, "lr": 1e-3}, tiny_sft, tiny_data, new_stage()).out for _ in range(2))
    for name in ("adapter/adapter_model.safetensors", "metrics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_rollouts_are_drawn_from_the_policy_alone(
    tiny_llama: Path, tiny_data: DatasetRef, new_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    """What a model's folder says of how it is to be sampled isn't the policy, and is still there behind GRPO."""
    odd = shutil.copytree(tiny_llama, tmp_path / "odd")
    settings = json.loads((odd / "generation_config.json").read_bytes())
    settings |= {"do_sample": True, "top_k": 3, "min_p": 0.5, "no_repeat_ngram_size": 1, "suppress_tokens": list(range(3, 300))}
    (odd / "generation_config.json").write_text(json.dumps(settings))
    plain, other = (run(grpo, {**GRPO, "lr": 1e-3}, ModelRef(base, None, ""), tiny_data, new_stage()) for base in (tiny_llama, odd))
    assert logged(other, "reward") == logged(plain, "reward")
    weights = "model/model.safetensors"
    assert (other.out / weights).read_bytes() == (plain.out / weights).read_bytes()
    kept = json.loads((other.out / "model" / "generation_config.json").read_bytes())
    assert (kept["no_repeat_ngram_size"], kept["top_k"]) == (1, 3)
