"""A base model that exists: its end token has to be one that it knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from components import events
from components.artifacts import Inputs, ModelRef
from components.errors import InputError
from components.inference.engine import Engine
from components.models.load import load_model
from components.models.sources import folder
from components.recipe import ModelConfig
from components.stage import Stage
from components.training.rows import sft_row


def resolved(stage: Stage, source: Path, eos_token: str | None = None) -> Path:
    folder.run(folder.Config(eos_token=eos_token), Inputs(None, {"source": ModelRef(source, None, "")}), stage)
    return stage.out / "model"


def warnings(stage: Stage) -> list[str]:
    found, _ = events.read(stage.events.path)
    return [event["message"] for event in found if event["kind"] == "warning"]


def test_an_end_token_that_the_model_never_saw_is_named(stories260k: Path, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    resolved(stage, stories260k)
    (said,) = warnings(stage)
    assert "can't tell its end token '</s>' from 168 other tokens" in said
    assert "set model.eos_token" in said


def test_the_end_token_that_it_knows_ends_answers_everywhere(stories260k: Path, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    made = resolved(stage, stories260k, "<s>")
    assert warnings(stage) == []
    model, tokenizer = load_model(ModelRef(made, None, ""))
    row = sft_row(tokenizer, {"prompt": "Tell a story.", "completion": "Tim ran."}, "row 1")
    assert row.input_ids[-1] == tokenizer.eos_token_id == 1
    assert row.completion_mask[-1] == 1
    assert Engine(model, tokenizer).end_ids == {1, 2}
    assert json.loads((made / "generation_config.json").read_bytes())["eos_token_id"] == [1, 2]


def test_a_head_of_its_own_decides_over_the_embedding(tiny_llama: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_llama / "model.safetensors")
    head = torch.randn_like(weights["model.embed_tokens.weight"])
    (tmp_path / "model").mkdir()
    save_file({**weights, "lm_head.weight": head}, tmp_path / "model" / "model.safetensors")
    assert folder.indistinct(tmp_path / "model", 2) == 0
    head[[5, 6, 7]] = head[2].clone()
    save_file({**weights, "lm_head.weight": head}, tmp_path / "model" / "model.safetensors")
    assert folder.indistinct(tmp_path / "model", 2) == 3


def test_an_unknown_end_token_is_refused(tiny_llama: Path, new_stage: Callable[..., Stage]) -> None:
    with pytest.raises(InputError, match=r"model.eos_token='<end>' isn't a token of this tokenizer; its end token is '</s>'"):
        resolved(new_stage(), tiny_llama, "<end>")
    with pytest.raises(ValidationError, match="eos_token is for a base model that exists"):
        ModelConfig(eos_token="</s>")
