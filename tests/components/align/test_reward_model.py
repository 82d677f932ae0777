"""A reward model begins as the policy: its layers with the adapter added in, under a new head."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace

import torch

from components.align import reward
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.models.load import load_tokenizer
from components.models.plain import plain_model
from components.stage import Stage


def test_it_starts_from_the_whole_policy_and_scores_held_out_pairs(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    stage = new_stage()
    folder = stage.work / "data"
    shutil.copytree(tiny_data.path, folder)
    shutil.copyfile(folder / "preference.jsonl", folder / "heldout.jsonl")
    splits = {**tiny_data.splits, "heldout": replace(tiny_data.splits["preference"], name="heldout")}
    given = Inputs(replace(tiny_data, path=folder, splits=splits), {"model": tiny_sft})
    config = reward.Config(lr=1e-3, batch_size=8, max_steps=2, logging_every=1)
    before = reward._classifier(config, given, stage, load_tokenizer(tiny_sft.base)).base_model.state_dict()
    policy = plain_model(tiny_sft, "cpu").base_model.state_dict()
    assert before.keys() == policy.keys()
    assert all(torch.equal(before[name], policy[name]) for name in policy)

    reward.run(config, given, stage)
    found = json.loads((stage.out / "metrics.json").read_bytes())
    assert found["heldout"]["accuracy"]["n"] == 40
    assert found["heldout"]["prefer_shorter"]["value"] + found["heldout"]["prefer_longer"]["value"] == 1.0
    assert json.loads((stage.out / "model" / "config.json").read_bytes())["architectures"] == ["LlamaForSequenceClassification"]
