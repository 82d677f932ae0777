"""Which weights train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.adapters import full, lora
from components.artifacts import ModelRef
from components.errors import InputError
from components.models.load import load_model

ATTENTION = {f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
MLP = {f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")}


@pytest.fixture
def model(tiny_llama: Path) -> Any:
    return load_model(ModelRef(tiny_llama, None, ""), trainable=True)[0]


def adapted(model: Any) -> set[str]:
    """``<layer>.<module>`` of every module with an adapter."""
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert all("lora_" in name for name in names)
    return {name.partition(".layers.")[2].partition(".lora_")[0] for name in names}


def expected(modules: set[str], layers: range = range(2)) -> set[str]:
    return {f"{layer}.{module}" for layer in layers for module in modules}


@pytest.mark.parametrize(
    ("settings", "modules", "layers"),
    [
        ({}, ATTENTION | MLP, range(2)),
        ({"target_modules": ["q_proj", "v_proj"]}, {"self_attn.q_proj", "self_attn.v_proj"}, range(2)),
        ({"target_modules": ["self_attn.q_proj"]}, {"self_attn.q_proj"}, range(2)),
        ({"target_modules": r".*\.mlp\..*"}, MLP, range(2)),
        ({"target_modules": r"model\.layers\.1\..*_proj"}, ATTENTION | MLP, range(1, 2)),
        ({"layers": [1, 1]}, ATTENTION | MLP, range(1, 2)),
        ({"layers": [0, 1], "target_modules": ["down_proj"]}, {"mlp.down_proj"}, range(2)),
    ],
)
def test_targets_by_name_pattern_and_layers(model: Any, settings: dict[str, Any], modules: set[str], layers: range) -> None:
    assert adapted(lora.apply(lora.Config(**settings), model)) == expected(modules, layers)


def test_a_name_is_a_whole_name(model: Any) -> None:
    with pytest.raises(
        InputError, match=r"target_modules=\['proj'\] matches no linear module; the model has .*gate_proj.*, v_proj"
    ):
        lora.apply(lora.Config(target_modules=["proj"]), model)
    with pytest.raises(InputError, match="matches no linear module"):
        lora.apply(lora.Config(target_modules="mlp"), model)


@pytest.mark.parametrize("layers", [[0, 2], [1, 0], [-1, 1]])
def test_layers_outside_the_model(model: Any, layers: list[int]) -> None:
    with pytest.raises(InputError, match="isn't a range within the model's layers 0 to 1"):
        lora.apply(lora.Config(layers=layers), model)


def test_rank_and_scale_reach_the_layers(model: Any) -> None:
    found = lora.apply(lora.Config(r=3, alpha=12, dropout=0.5, target_modules=["q_proj"]), model)
    layer = found.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.lora_A["default"].weight.shape == (3, 64)
    assert layer.scaling["default"] == 4.0
    assert layer.lora_dropout["default"].p == 0.5


def test_the_head_never_gets_an_adapter(model: Any) -> None:
    with pytest.raises(InputError, match="matches no linear module"):
        lora.apply(lora.Config(target_modules=["lm_head"]), model)


def test_a_quantized_model_gets_the_same_targets(tiny_nf4: ModelRef) -> None:
    model, _ = load_model(tiny_nf4, trainable=True)
    assert adapted(lora.apply(lora.Config(), model)) == expected(ATTENTION | MLP)


def test_full_trains_every_weight(model: Any) -> None:
    model.requires_grad_(False)
    assert all(weight.requires_grad for weight in full.apply(full.Config(), model).parameters())


def test_full_refuses_integers(tiny_nf4: ModelRef) -> None:
    model, _ = load_model(tiny_nf4, trainable=True)
    with pytest.raises(InputError, match="can't train a quantized model; take out 'quantize:' or use method: lora"):
        full.apply(full.Config(), model)


@pytest.mark.parametrize("settings", [{"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"layers": [1]}])
def test_ranges(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        lora.Config(**settings)


def test_ranks_of_layers(model: Any) -> None:
    """A layer of rank 0 has no adapter; the scale is that of the settings in every other."""
    found = lora.apply(lora.Config(r=4, alpha=12, ranks=(0, 2)), model)
    assert adapted(found) == expected(ATTENTION | MLP, range(1, 2))
    layer = found.base_model.model.model.layers[1].mlp.up_proj
    assert layer.lora_A["default"].weight.shape == (2, 64)
    assert layer.scaling["default"] == 3.0


@pytest.mark.parametrize("ranks", [(4,), (0, 0)])
def test_ranks_that_fit_no_model(model: Any, ranks: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="needs one rank for each of the 2 layers, and not all of them 0"):
        lora.apply(lora.Config(ranks=ranks), model)
    with pytest.raises(ValidationError, match="layers and ranks both choose layers"):
        lora.Config(ranks=ranks, layers=(0, 1))


def test_a_pattern_that_is_none_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValidationError, match="isn't a regular expression: missing \\), unterminated subpattern"):
        lora.Config(target_modules="(")


def test_other_architectures_name_layers_and_head_otherwise() -> None:
    import torch
    from transformers import FalconConfig, FalconForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

    shape = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.device("meta"):
        neox, falcon = GPTNeoXForCausalLM(GPTNeoXConfig(intermediate_size=32, **shape)), FalconForCausalLM(FalconConfig(**shape))
    modules = {"attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"}
    assert adapted(lora.apply(lora.Config(), neox)) == expected(modules)
    names = [name for name, _ in lora.apply(lora.Config(layers=(1, 1)), falcon).named_parameters() if "lora_A" in name]
    assert names
    assert all(".h.1." in name for name in names)


def test_a_pattern_without_a_module_in_the_layers(model: Any) -> None:
    config = lora.Config(target_modules=r"model\.layers\.0\..*", layers=(1, 1))
    with pytest.raises(InputError, match="has no module in the layers 1 to 1"):
        lora.apply(config, model)
