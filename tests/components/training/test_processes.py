"""Several processes train one model: the one that a single process would train on the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from components import launch
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.launch import Job

pytestmark = pytest.mark.slow

COMMON: dict[str, Any] = {"max_steps": 6, "logging_every": 2, "checkpoint_every": 4, "lr": 1e-3}
GRPO = {"num_generations": 4, "max_prompt_length": 120, "max_completion_length": 8}
REWARDS = [{"method": "length", "least": 3, "most": 5, "slack": 12}]


def train(
    folder: Path, section: str, config: dict[str, Any], model: ModelRef, data: DatasetRef
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(weights, metrics) of a stage that ran as it does in a flow."""
    job = Job(section, config["method"], {**COMMON, **config}, Inputs(data, {"model": model}), 0, "cpu", folder, threads=2)
    launch.run(job)
    return load_file(job.out / "adapter" / "adapter_model.safetensors"), json.loads((job.out / "metrics.json").read_text())


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_twice_the_processes_with_half_the_batch(
    tiny_nf4: ModelRef, tiny_sft: ModelRef, tiny_data: DatasetRef, tmp_path: Path, method: str
) -> None:
    section, model = ("sft", tiny_nf4) if method == "sft" else ("align", tiny_sft)
    config = {"method": method, "adapter": {"method": "lora", "r": 4}} if method == "sft" else {"method": method}
    alone, said = train(tmp_path / "alone", section, {**config, "batch_size": 8}, model, tiny_data)
    team, said_by_team = train(tmp_path / "team", section, {**config, "batch_size": 4, "processes": 2}, model, tiny_data)
    other, _ = train(tmp_path / "other", section, {**config, "batch_size": 4, "processes": 2, "max_steps": 5}, model, tiny_data)
    moved = distance(other, team)
    assert distance(alone, team) < moved / 10, "it isn't the same training"
    assert said_by_team["steps"] == said["steps"] == COMMON["max_steps"]


def test_grpo_in_two_processes_repeats_itself_and_shares_the_groups(
    tiny_sft: ModelRef, tiny_data: DatasetRef, tmp_path: Path
) -> None:
    config = {"method": "grpo", **GRPO, "rewards": REWARDS, "batch_size": 2, "processes": 2}  # a group lies across both
    first, said = train(tmp_path / "first", "align", config, tiny_sft, tiny_data)
    again, said_again = train(tmp_path / "again", "align", config, tiny_sft, tiny_data)
    assert distance(first, again) == 0
    assert said == said_again
    assert said["steps"] == COMMON["max_steps"]
