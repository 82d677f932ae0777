"""A base model that exists: its end token has to be one that it knows."""

from __future__ import annotations

import json
import shutil
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
from components.models.load import load_model, load_tokenizer
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


def test_a_template_that_ends_answers_with_another_token_is_named(
    tiny_llama: Path, new_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    """As of a base model with the template of its chat sibling: nothing would ever end an answer that was trained."""
    source = shutil.copytree(tiny_llama, tmp_path / "model")
    tokenizer = load_tokenizer(source)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<s>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<s>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tokenizer.save_pretrained(str(source))
    stage = new_stage()
    resolved(stage, source)
    (said,) = [warning for warning in warnings(stage) if "chat template" in warning]
    assert said.startswith("the chat template ends answers with '<s>', and nothing ends a generation but '</s>'")
    second = new_stage()
    resolved(second, source, "<s>")
    assert not [warning for warning in warnings(second) if "chat template" in warning]


def test_settings_of_a_generation_that_could_not_be_saved(
    tiny_llama: Path, new_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    """transformers reads them without a word and refuses to save a model with them, which quantizing and merging do."""
    source = shutil.copytree(tiny_llama, tmp_path / "model")
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "temperature": 0.6, "top_p": 0.9}))
    stage = new_stage()
    made = resolved(stage, source)
    assert ["do_sample=true" in warning for warning in warnings(stage) if "generation_config" in warning] == [True]
    load_model(ModelRef(made, None, ""))[0].save_pretrained(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "generation_config.json").read_bytes())["temperature"] == 0.6
    (source / "generation_config.json").write_text(json.dumps({"num_return_sequences": 3, "num_beams": 2}))
    with pytest.raises(InputError, match=r"generation_config\.json contradicts itself: .*num_return_sequences.*; mend those"):
        resolved(new_stage(), source)
