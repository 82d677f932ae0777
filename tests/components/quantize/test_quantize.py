"""Quantized bases: what is saved is what was quantized, what it costs is measured, and nothing that can't be packed breaks."""

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
from components.models.load import keep_weight_layout, load_model
from components.stage import Stage


@pytest.fixture
def quantize(tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Runs a quantizer on a model folder; gives the folder that it made and its metrics."""

    def run(folder: Path, method: str, **settings: Any) -> tuple[Path, dict[str, Any]]:
        stage, module = new_stage(), methods.load("quantize", method)
        module.run(module.Config(**settings), Inputs(tiny_data, {"model": ModelRef(folder, None, "")}), stage)
        return stage.out / "model", json.loads((stage.out / "metrics.json").read_bytes())

    return run


def small_llama(folder: Path, tokenizer_of: Path, **sizes: int) -> Path:
    """A random one-layer Llama with sizes of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from components.models.load import load_tokenizer

    torch.manual_seed(0)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=320, max_position_embeddings=256, **{**shape, **sizes})).save_pretrained(str(folder))
    load_tokenizer(tokenizer_of).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize(("method", "smaller", "kl"), [("nf4", 0.4, 1e-3), ("fp4", 0.4, 1e-3), ("int8", 0.45, 1e-5)])
def test_size_loss_and_divergence_are_measured(quantize: Any, tiny_llama: Path, method: str, smaller: float, kl: float) -> None:
    folder, metrics = quantize(tiny_llama, method)
    assert metrics["bytes"] == sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert metrics["bytes"] < smaller * metrics["bytes_before"]
    assert 0 < metrics["kl"] < kl
    assert 0.5 < metrics["top1"] <= 1
    assert metrics["loss"] == pytest.approx(metrics["reference_loss"], abs=0.05)
    assert metrics["left_out"] == []
    assert "tokens_equal" not in metrics


def test_fewer_bits_cost_more(quantize: Any, tiny_llama: Path) -> None:
    assert quantize(tiny_llama, "int8")[1]["kl"] < quantize(tiny_llama, "nf4")[1]["kl"] < quantize(tiny_llama, "fp4")[1]["kl"]


def test_double_quantisation_saves_bytes(quantize: Any, tiny_llama: Path, tmp_path: Path) -> None:
    folder = small_llama(tmp_path / "wide", tiny_llama, hidden_size=256, intermediate_size=512)
    sizes = [quantize(folder, "nf4", double_quant=double)[1]["bytes"] for double in (True, False)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("method", ["nf4", "fp4"])
def test_a_reload_is_what_was_saved(quantize: Any, tiny_llama: Path, method: str) -> None:
    """Bit for bit the levels that bitsandbytes gives for the original weights."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    from bitsandbytes.nn import Linear4bit

    original = dict(load_model(ModelRef(tiny_llama, None, ""))[0].named_parameters())
    reloaded, _ = load_model(ModelRef(quantize(tiny_llama, method)[0], None, ""))
    layers = {name: module for name, module in reloaded.named_modules() if isinstance(module, Linear4bit)}
    assert len(layers) == 14
    for name, layer in layers.items():
        packed, state = quantize_4bit(original[f"{name}.weight"].data, quant_type=method, compress_statistics=True)
        assert torch.equal(layer.weight.data, packed)
        assert torch.equal(dequantize_4bit(layer.weight.data, layer.weight.quant_state), dequantize_4bit(packed, state))
    for name, weight in reloaded.named_parameters():
        if not any(name.startswith(layer) for layer in layers):
            assert torch.equal(weight, original[name])


def test_two_runs_give_the_same_bytes(quantize: Any, tiny_llama: Path) -> None:
    first, second = (quantize(tiny_llama, "nf4")[0] / "model.safetensors" for _ in range(2))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("sizes", "left_out"),
    [
        ({"intermediate_size": 96}, ["down_proj"]),  # 4-bit blocks need an input width of a multiple of 64
        ({"intermediate_size": 192 + 16}, ["down_proj", "gate_proj", "up_proj"]),  # fast kernels an output width of 32
        ({"num_key_value_heads": 1}, ["k_proj", "v_proj"]),
    ],
)
def test_layers_that_cannot_be_packed_stay_as_they_are(
    quantize: Any, tiny_llama: Path, tmp_path: Path, sizes: dict[str, int], left_out: list[str]
) -> None:
    folder, metrics = quantize(small_llama(tmp_path / "odd", tiny_llama, **sizes), "nf4")
    assert sorted(name.rpartition(".")[2] for name in metrics["left_out"]) == left_out
    model, tokenizer = load_model(ModelRef(folder, None, ""))
    with torch.inference_mode():
        logits = model(**tokenizer("Tom has 3 apples", return_tensors="pt")).logits
    assert logits.isfinite().all()


def test_a_model_without_a_fitting_layer_is_refused(quantize: Any, tiny_llama: Path, tmp_path: Path) -> None:
    folder = small_llama(tmp_path / "narrow", tiny_llama, hidden_size=32, intermediate_size=96)
    with pytest.raises(InputError, match=r"no layer can be quantized to 4 bits: .*\[\(32, 32\), \(32, 96\).*; use method: int8"):
        quantize(folder, "nf4")
    assert quantize(folder, "int8")[1]["left_out"] == []


def test_a_quantized_model_is_not_quantized_again(quantize: Any, tiny_llama: Path) -> None:
    with pytest.raises(InputError, match="is quantized already; take out 'quantize:'"):
        quantize(quantize(tiny_llama, "nf4")[0], "int8")


def test_the_real_model_quantizes(quantize: Any, stories260k: Path, new_stage: Callable[..., Stage]) -> None:
    base, source = new_stage(), methods.load("model", "folder")
    source.run(source.Config(), Inputs(None, {"source": ModelRef(stories260k, None, "")}), base)
    folder, metrics = quantize(base.out / "model", "nf4")
    assert metrics["left_out"]  # its MLPs are 172 wide
    assert metrics["kl"] < 0.1
    assert metrics["loss"] < metrics["reference_loss"] + 0.1
    model, _ = load_model(ModelRef(folder, None, ""), trainable=True)
    assert keep_weight_layout(model) > 0


def test_layers_of_another_kind_are_not_left_alone_in_silence(
    quantize: Callable[..., tuple[Path, dict[str, Any]]], tiny_llama: Path, tmp_path: Path
) -> None:
    """Falcon's linear layers are a class of their own, which bitsandbytes passes over."""
    from transformers import FalconConfig, FalconForCausalLM

    from components.models.load import load_tokenizer

    config = FalconConfig(vocab_size=320, hidden_size=64, num_hidden_layers=1, num_attention_heads=4)
    FalconForCausalLM(config).save_pretrained(str(tmp_path / "falcon"))
    load_tokenizer(tiny_llama).save_pretrained(str(tmp_path / "falcon"))
    with pytest.raises(InputError, match="bitsandbytes can quantize no layer of FalconForCausalLM"):
        quantize(tmp_path / "falcon", "nf4")


def test_what_is_measured_is_what_was_stored(
    quantize: Callable[..., tuple[Path, dict[str, Any]]], tiny_llama: Path, tiny_data: DatasetRef
) -> None:
    """To the last digit, also on a CPU with AVX512-BF16, where bitsandbytes repacks a model that wasn't protected."""
    from components.models.compare import compare
    from components.models.probes import rendered

    folder, found = quantize(tiny_llama, "nf4")
    (reference, tokenizer), (model, _) = (load_model(ModelRef(place, None, "")) for place in (tiny_llama, folder))
    rows = [
        row
        for name, kind in (("sft", "sft"), ("heldout", "prompts"))
        for row in rendered(tokenizer, tiny_data.file(name), kind, 64)
    ]
    assert compare(reference, model, rows).kl == found["kl"]
