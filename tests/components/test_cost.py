"""Sizes that can be counted are exact; estimates move the way that they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import cost, graph, recipe
from components.cost import Shape
from components.recipe import Recipe

QWEN = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
LLAMA = {**QWEN, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
LLAMA |= {"num_key_value_heads": 8, "vocab_size": 128256, "head_dim": 64}


def shape(config: dict[str, object]) -> Shape:
    found = cost.shape_of_config(config, None, "")
    assert found is not None
    return found


def test_parameters_of_known_models() -> None:
    assert shape(LLAMA).parameters == 1_235_814_400
    assert shape(QWEN).parameters == pytest.approx(494_032_768, rel=1e-4)  # its attention has biases


def test_parameters_of_a_folder_are_counted(tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    from components.adapters import lora

    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    found = cost.shape_of_folder(tiny_llama)
    assert found is not None
    assert found.parameters == model.num_parameters()
    adapted = lora.apply(lora.Config(r=4), model)
    assert found.lora(4, "all-linear") == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_a_name_gives_a_size() -> None:
    found = cost.shape_of_name("Qwen/Qwen2.5-0.5B-Instruct")
    assert found is not None
    assert found.parameters == 500_000_000
    assert cost.shape_of_name("org/model") is None


def test_memory_is_told_by_method(tiny_recipe: Recipe) -> None:
    """QLoRA keeps a quarter of the weights and nearly no optimizer; full training 16 bytes a weight."""
    model = shape(LLAMA)
    lora = graph.build(tiny_recipe).node("sft")
    raw = tiny_recipe.dump()
    for override in ("quantize=null", "sft.adapter={method: full}"):
        recipe.apply_override(raw, override)
    whole = Recipe.model_validate(raw)
    packed = cost.memory(tiny_recipe, lora, model, "cpu", {})
    full = cost.memory(whole, graph.build(whole).node("sft"), model, "cpu", {})
    assert packed.weights < 0.45 * full.weights
    assert full.optimizer == 12 * model.parameters
    assert packed.optimizer < 0.01 * full.optimizer
    assert cost.memory(tiny_recipe, lora, model, "cpu", {"sft": 20}).activations < packed.activations
    assert cost.memory(tiny_recipe, lora, model, "cuda", {}).activations < packed.activations


def test_time_grows_with_the_work(tiny_recipe: Recipe) -> None:
    nodes = graph.build(tiny_recipe)
    raw = tiny_recipe.dump()
    recipe.apply_override(raw, "sft.max_steps=120")
    longer = graph.build(Recipe.model_validate(raw)).node("sft")
    assert cost.work(longer, longer.config, {}) == 10 * (cost.work(nodes.node("sft"), nodes.node("sft").config, {}) or 0)
    assert cost.work(nodes.node("evaluate.sft"), nodes.node("evaluate.sft").config, {}) is None
    assert cost.work(nodes.node("merge"), nodes.node("merge").config, {}) == 1
