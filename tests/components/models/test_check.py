"""Folders that are no whole model are refused in a sentence, before anything is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from components.artifacts import ModelRef
from components.errors import InputError
from components.models.check import check_folder
from components.models.load import load_model

Damage = Callable[[Path], Any]


def changed(name: str, **fields: Any) -> Damage:
    """Sets fields of a JSON file; None takes a field away."""

    def damage(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_bytes()) | fields
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return damage


def written(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_in_its_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:40])


def in_parts(folder: Path) -> None:
    """Two shards are named, one is there."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def larger_vocabulary(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_bytes())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 100_000, "content": "<far>"})
    (folder / "tokenizer.json").write_text(json.dumps(content))


def larger_than_its_embedding(folder: Path) -> None:
    """Tokenizer and config agree, the weights don't."""
    weights = load_file(folder / "model.safetensors")
    save_file(
        {**weights, "model.embed_tokens.weight": weights["model.embed_tokens.weight"][:100].clone()}, folder / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (written("config.json", ""), r"config\.json is empty; copy it again"),
        (written("config.json", "{model_type: llama}"), r"config\.json isn't valid JSON: .* line 1 column 2"),
        (written("config.json", "[" * 100_000), r"config\.json isn't valid JSON: "),
        (written("config.json", "[1]"), r"config\.json holds no JSON object"),
        (changed("config.json", model_type=None), r"config\.json has no 'model_type', which says how the model is built"),
        (changed("config.json", vocab_size="many"), r"config\.json: vocab_size is 'many', expected a number of tokens"),
        (changed("config.json", vocab_size=7), r"config\.json says vocab_size=7, but the embedding in .* rows"),
        (written("tokenizer_config.json", '{"eos_token": "</s>"'), r"tokenizer_config\.json isn't valid JSON"),
        (changed("tokenizer.json", model=None), r"tokenizer\.json has no 'model', the part with the vocabulary; copy the one"),
        (changed("tokenizer.json", added_tokens=[{"content": "<s>"}]), r"tokenizer\.json gives a token no number as its id"),
        (written("generation_config.json", "{"), r"generation_config\.json isn't valid JSON"),
        (written("tokenizer.json", ""), r"tokenizer\.json is empty"),
        (cut, r"model\.safetensors has [\d,]+ bytes, its header tells of [\d,]+: it is cut off or damaged"),
        (cut_in_its_header, r"model\.safetensors is no whole safetensors file: its header can't be read"),
        (written("model.safetensors", ""), r"model\.safetensors is no whole safetensors file"),
        (in_parts, r"isn't whole: model\.safetensors\.index\.json names model-00002-of-00002\.safetensors, which isn't there"),
        (larger_vocabulary, r"it makes token ids up to 100000, the model knows \d+"),
        (larger_than_its_embedding, r"config\.json says vocab_size=\d+, but the embedding in .* has 100 rows"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_named_with_a_remedy(damage: Damage, said: str, tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    check_folder(folder)
    damage(folder)
    with pytest.raises(InputError, match=said) as caught:
        check_folder(folder)
    assert "\n" not in str(caught.value)


def test_an_index_without_its_map_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    in_parts(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match=r"index\.json has no 'weight_map'"):
        check_folder(folder)


def lacking(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if "layers.1.mlp.down" not in name}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lacking, r"isn't whole: 1 of the weights .* for example model\.layers\.1\.mlp\.down_proj\.weight"),
        (changed("config.json", model_type="lama"), r"can't be loaded: .*`lama`"),
        (changed("config.json", num_attention_heads="two"), r"can't be loaded: "),
        (changed("config.json", intermediate_size=60), r"mlp\.\w+\.weight has the shape \[.*\], config\.json asks for \[.*60"),
        (changed("tokenizer.json", model={"type": "Nonsense", "vocab": {"a": 0}}), r"the tokenizer in .* can't be loaded: "),
    ],
)
def test_a_model_is_never_filled_with_random_weights(damage: Damage, said: str, tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    damage(folder)
    check_folder(folder)
    with pytest.raises(InputError, match=said):
        load_model(ModelRef(folder, None, ""))


def test_an_adapter_is_no_base(tiny_llama: Path, tiny_sft: ModelRef, tmp_path: Path) -> None:
    """Beside a whole model, too: transformers would load another base, the one that the adapter's config names."""
    assert tiny_sft.adapter is not None
    with pytest.raises(InputError, match="is an adapter, no whole model: it belongs on a base that it does not name; merge it"):
        check_folder(tiny_sft.adapter)
    both = shutil.copytree(tiny_llama, tmp_path / "both")
    shutil.copy(tiny_sft.adapter / "adapter_config.json", both)
    with pytest.raises(InputError, match="holds a model and an adapter"):
        check_folder(both)
