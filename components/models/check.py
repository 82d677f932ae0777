"""Whether a folder is a whole model in Hugging Face layout, without loading it: reads JSON files and the headers of weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.errors import InputError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
_LARGEST_HEADER = 100_000_000  # safetensors' own limit
_AGAIN = "copy it again from where the model came from"


def check_folder(folder: Path) -> None:
    """Refuses what isn't a model in Hugging Face layout with safetensors, is not whole, or would run code.

    Raises:
        InputError: naming the file and the remedy.
    """
    if not folder.is_dir():
        raise InputError(f"model folder {folder} doesn't exist")
    config_file = folder / "config.json"
    if (folder / ADAPTER).is_file():
        _refuse_adapter(folder, config_file.is_file())
    if not config_file.is_file():
        raise InputError(f"{folder} is no model: it has no config.json (expected a folder in Hugging Face layout)")
    for file in [config_file, folder / "tokenizer_config.json", folder / "generation_config.json"]:
        if file.is_file() and "auto_map" in _read_json(file):
            raise InputError(
                f"{file} has an 'auto_map': loading it would run the model author's Python code; use a model without one"
            )
    if not isinstance(_read_json(config_file).get("model_type"), str):
        raise InputError(f"{config_file} has no 'model_type', which says how the model is built; {_AGAIN}")
    _check_tokenizer(folder, _embedding_rows(folder, _weights(folder)))


def _refuse_adapter(folder: Path, whole: bool) -> None:
    """Refuses what transformers loads otherwise: the base that the adapter's config names, whatever weights lie beside it."""
    if whole:
        raise InputError(f"{folder} holds a model and an adapter ({ADAPTER}); move the adapter's files away, or merge them first")
    base = _read_json(folder / ADAPTER).get("base_model_name_or_path")
    raise InputError(
        f"{folder} is an adapter, no whole model: it belongs on {base or 'a base that it does not name'}; "
        "merge it (peft's merge_and_unload, then save_pretrained with the tokenizer) and give that folder"
    )


def _weights(folder: Path) -> list[Path]:
    """The files with weights, all of which are there."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = [f.name for pattern in PICKLES for f in sorted(folder.glob(pattern))]
        if pickled:
            raise InputError(
                f"{folder} has its weights as pickle ({pickled[0]}), which can run any code when loaded; "
                "convert it with transformers' save_pretrained (writes safetensors) on a machine that trusts it"
            )
        raise InputError(
            f"{folder} is no model: it has no *.safetensors; weights as pickle (.bin, .pt) aren't taken: they can run any code"
        )
    index = folder / INDEX
    if index.is_file() and not (folder / "model.safetensors").is_file():
        parts = _read_json(index).get("weight_map")
        if not isinstance(parts, dict) or not parts:
            raise InputError(f"{index} has no 'weight_map', which says what weights lie in which file; {_AGAIN}")
        names = {file.name for file in weights}
        if missing := sorted({str(name) for name in parts.values()} - names):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(f"{folder} isn't whole: {INDEX} names {missing[0]}{more}, which isn't there; copy it as well")
    return weights


def _embedding_rows(folder: Path, weights: list[Path]) -> int | None:
    """How many token ids the embedding knows, as far as the weights' headers tell.

    Raises:
        InputError: if a file is cut off or is no safetensors file, or config.json tells another number.
    """
    found: dict[int, Path] = {}
    for file in weights:
        for name, tensor in _tensors(file):
            if name.endswith(("embed_tokens.weight", "wte.weight")) and len(tensor["shape"]) == 2:
                found[int(tensor["shape"][0])] = file
    if not found:
        return None
    size, rows = _vocab_size(folder), max(found)
    if size is not None and size not in found:
        raise InputError(
            f"{folder / 'config.json'} says vocab_size={size}, but the embedding in {found[rows]} has {rows} rows; "
            "one of the two belongs to another model, copy both from the same place"
        )
    return rows


def _tensors(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and records (dtype, shape, data_offsets) of the tensors of a safetensors file, which is whole."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise InputError(f"{file} is a Git LFS pointer, not weights; run 'git lfs pull' in the model's repository")
        length = int.from_bytes(start, "little")
        header = stream.read(length) if length <= min(size, _LARGEST_HEADER) else b""
    try:
        tensors = {name: part for name, part in json.loads(header).items() if name != "__metadata__"}
        ends = [int(part["data_offsets"][1]) for part in tensors.values()]
        list(map(math.prod, (part["shape"] for part in tensors.values())))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"{file} is no whole safetensors file: its header can't be read; {_AGAIN}") from error
    if (whole := 8 + length + max(ends, default=0)) != size:
        raise InputError(f"{file} has {size:,} bytes, its header tells of {whole:,}: it is cut off or damaged; {_AGAIN}")
    yield from tensors.items()


def _check_tokenizer(folder: Path, rows: int | None) -> None:
    """A tokenizer that makes ids which the model's embedding doesn't have belongs to another model."""
    if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        raise InputError(f"{folder} has no tokenizer (tokenizer.json); copy the one that the model was trained with")
    file = folder / "tokenizer.json"
    if not file.is_file():
        return
    content = _read_json(file)
    model, added = content.get("model"), content.get("added_tokens") or []
    if not isinstance(model, dict):
        raise InputError(f"{file} has no 'model', the part with the vocabulary; copy the one that the model was trained with")
    vocabulary = model.get("vocab")
    try:
        ids = [int(i) for i in vocabulary.values()] if isinstance(vocabulary, dict) else list(range(len(vocabulary or ())))
        ids += [int(token["id"]) for token in added]
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{file} gives a token no number as its id; copy the one that the model was trained with") from error
    size = rows or _vocab_size(folder)
    if ids and size and max(ids) >= size:
        raise InputError(
            f"the tokenizer in {folder} doesn't match the model: it makes token ids up to {max(ids)}, "
            f"the model knows {size}; use the tokenizer that the model was trained with"
        )


def _vocab_size(folder: Path) -> int | None:
    config = _read_json(folder / "config.json")
    inner = config.get("text_config")
    size = config.get("vocab_size") or (inner.get("vocab_size") if isinstance(inner, dict) else None)
    if size is None:
        return None
    if not isinstance(size, int) or size < 1:
        raise InputError(f"{folder / 'config.json'}: vocab_size is {size!r}, expected a number of tokens; {_AGAIN}")
    return size


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        what = f"isn't valid JSON: {error}" if file.stat().st_size else "is empty"
        raise InputError(f"{file} {what}; {_AGAIN}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no JSON object; {_AGAIN}")
    return content
