"""What is rounded in memory is what a stored model computes with, and its files are as small as is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import DatasetRef, Inputs, LayerChoice, ModelRef
from components.errors import InputError
from components.models import precision
from components.models.load import load_model
from components.quantize import mixed
from tests.conftest import empty_stage

BITS = (3, 8)


@pytest.fixture(scope="module")
def packed(tiny_llama: Path, tiny_data: DatasetRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = empty_stage(tmp_path_factory.mktemp("mixed") / "stage")
    mixed.run(mixed.Config(bits=BITS), Inputs(tiny_data, {"model": ModelRef(tiny_llama, None, "")}), stage)
    return stage.out / "model"


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: module.weight for layer in precision.layers(model) for name, module in layer.items()}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounded_by_hand(bits: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 128)
    most = 2 ** (bits - 1) - 0.5
    scale = weight.reshape(3, 2, 64).abs().amax(-1, keepdim=True) / most
    integers = (weight.reshape(3, 2, 64) / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    torch.testing.assert_close(precision.rounded(weight, bits), (integers * scale).reshape(3, 128))
    assert torch.equal(precision.rounded(weight, 16), weight)


def test_a_stored_model_computes_with_the_rounded_weights(packed: Path, tiny_llama: Path) -> None:
    original = weights(load_model(ModelRef(tiny_llama, None, ""))[0])
    trained, _ = load_model(ModelRef(packed, None, ""), trainable=True)
    served, tokenizer = load_model(ModelRef(packed, None, ""))
    ids = tokenizer("Tom has 3 apples", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(served(ids).logits, trained.eval()(ids).logits)
    for found in (weights(trained), weights(served)):
        for name, weight in original.items():
            assert torch.equal(found[name], precision.rounded(weight, BITS[int(name.split(".")[2])])), name
    assert not torch.equal(weights(trained)["model.layers.0.mlp.up_proj"], original["model.layers.0.mlp.up_proj"])


def test_files_are_as_small_as_is_said(packed: Path, tiny_llama: Path) -> None:
    from safetensors.torch import load_file

    stored = load_file(packed / "model.safetensors")
    inside = sum(t.nbytes for name, t in stored.items() if ".layers." in name and "norm" not in name)
    original = weights(load_model(ModelRef(tiny_llama, None, ""))[0])
    said = [precision.stored_bytes(weight, BITS[int(name.split(".")[2])]) for name, weight in original.items()]
    assert inside == sum(said)
    assert sum(said) < 0.25 * sum(weight.nbytes for weight in original.values())


def test_what_was_trained_beside_packed_weights_is_what_is_merged(packed: Path, tiny_data: DatasetRef, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from components.adapters.lora import Config as LoraConfig
    from components.merge import merge
    from components.train import sft
    from components.verify import parity

    trained, merged = empty_stage(tmp_path / "sft"), empty_stage(tmp_path / "merge")
    config = sft.Config(lr=1e-2, batch_size=8, max_steps=4, logging_every=2, adapter=LoraConfig(r=4, alpha=8, ranks=(0, 2)))
    sft.run(config, Inputs(tiny_data, {"model": ModelRef(packed, None, "")}), trained)
    adapter = load_file(trained.out / "adapter" / "adapter_model.safetensors")
    assert all(".layers.1." in name for name in adapter)
    merge.run(merge.Config(), Inputs(tiny_data, {"model": ModelRef(packed, trained.out / "adapter", "")}), merged)
    metrics = json.loads((merged.out / "metrics.json").read_bytes())
    assert metrics["max_abs"] < 1e-4
    plain, whole = load_file(merged.out / "model" / "model.safetensors"), load_model(ModelRef(packed, None, ""), trainable=True)[0]
    assert set(plain) <= set(whole.state_dict())
    untouched = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(plain[untouched], whole.state_dict()[untouched])
    assert "quantization_config" not in json.loads((merged.out / "model" / "config.json").read_bytes())
    verified, copy = empty_stage(tmp_path / "verify"), ModelRef(packed, tmp_path / "copy", "")
    shutil.copytree(trained.out / "adapter", tmp_path / "copy")
    roles = {
        "trained": ModelRef(packed, trained.out / "adapter", ""),
        "reloaded": copy,
        "merged": ModelRef(merged.out / "model", None, ""),
    }
    parity.run(parity.Config(prompts=2, continue_tokens=4), Inputs(tiny_data, roles), verified)
    report = json.loads((verified.out / "metrics.json").read_bytes())
    assert report["ok"] is True
    assert report["merged"]["top1"] == 1.0


def test_bits_come_from_the_recipe_or_the_search(tiny_llama: Path, tiny_data: DatasetRef, tmp_path: Path, packed: Path) -> None:
    def run(config: mixed.Config, choice: LayerChoice | None, name: str) -> Path:
        stage = empty_stage(tmp_path / name)
        mixed.run(config, Inputs(tiny_data, {"model": ModelRef(tiny_llama, None, "")}, choice=choice), stage)
        return stage.out / "model" / "model.safetensors"

    assert run(mixed.Config(), LayerChoice(BITS, (0, 4), "d"), "chosen").read_bytes() == (packed / "model.safetensors").read_bytes()
    for bits, said in (
        (None, "add quantize.bits, or a search section"),
        ((4,), "names 1 layers, the model has 2"),
        ((16, 16), "nothing"),
    ):
        with pytest.raises(InputError, match=said):
            run(mixed.Config(bits=bits), None, f"wrong{said[:3]}")
