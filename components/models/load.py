"""Loads a model from files: safetensors only, no code from the model's folder, float32 on a CPU."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from components.artifacts import ModelRef
from components.errors import InputError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


def check_folder(folder: Path) -> None:
    """Refuses what isn't a model in Hugging Face layout with safetensors, or would run code.

    Raises:
        InputError: naming the file and the remedy.
    """
    if not folder.is_dir():
        raise InputError(f"model folder {folder} doesn't exist")
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise InputError(f"{folder} is no model: it has no config.json (expected a folder in Hugging Face layout)")
    for file in [config_file, folder / "tokenizer_config.json"]:
        if file.is_file() and "auto_map" in _read_json(file):
            raise InputError(
                f"{file} has an 'auto_map': loading it would run the model author's Python code; use a model without one"
            )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = [f.name for pattern in PICKLES for f in sorted(folder.glob(pattern))]
        if pickled:
            raise InputError(
                f"{folder} has its weights as pickle ({pickled[0]}), which can run any code when loaded; "
                "convert it with transformers' save_pretrained (writes safetensors) on a machine that trusts it"
            )
        raise InputError(f"{folder} is no model: it has no *.safetensors")
    for file in weights:
        if file.read_bytes()[:40].startswith(b"version https://git-lfs") if file.stat().st_size < 1024 else False:
            raise InputError(f"{file} is a Git LFS pointer, not weights; run 'git lfs pull' in the model's repository")
    _check_tokenizer(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder; padding falls back to the end token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(ref: ModelRef, device: str = "cpu", trainable: bool = False) -> tuple[Any, Any]:
    """(model, tokenizer) of a reference.

    Args:
        trainable: makes the adapter's weights trainable. Without it the model is in evaluation mode and nothing has a
            gradient.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from components.models.precision import is_packed, unpack

    quieten()
    model: Any = AutoModelForCausalLM.from_pretrained(
        ref.base,
        dtype=torch.float32 if device == "cpu" else torch.bfloat16,
        device_map=device,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    keep_weight_layout(model)
    if (trainable or ref.adapter is not None) and is_packed(model):
        unpack(model)
    if ref.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(ref.adapter), is_trainable=trainable, torch_device=device)
    if not trainable:
        model.requires_grad_(False)
        model.eval()
    return model, load_tokenizer(ref.base)


def quieten() -> None:
    """No progress bars for the seconds that loading takes, and no word about kernels that would have to be downloaded."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def keep_weight_layout(model: Any) -> int:
    """Stops bitsandbytes from repacking 4-bit weights in place on CPUs with AVX512-BF16; returns the number of layers.

    One forward pass in evaluation mode repacks them; from then on gradients are wrong, without an error (bitsandbytes
    0.50.2), and forward passes have the precision of bfloat16: no longer the function that was trained. So every loaded
    model keeps its layout; what has to be fast is dequantized (``components.inference``).
    """
    from bitsandbytes.nn import Linear4bit

    layers = [m for m in model.modules() if isinstance(m, Linear4bit)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def _check_tokenizer(folder: Path) -> None:
    """A tokenizer that makes ids which the model's embedding doesn't have belongs to another model."""
    if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        raise InputError(f"{folder} has no tokenizer (tokenizer.json); copy the one that the model was trained with")
    file = folder / "tokenizer.json"
    if not file.is_file():
        return
    content = _read_json(file)
    ids = [i for i in content.get("model", {}).get("vocab", {}).values()] if isinstance(content["model"].get("vocab"), dict) else []
    ids += [token["id"] for token in content.get("added_tokens", [])]
    config = _read_json(folder / "config.json")
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    if ids and size and max(ids) >= size:
        raise InputError(
            f"the tokenizer in {folder} doesn't match the model: it makes token ids up to {max(ids)}, "
            f"the model knows {size}; use the tokenizer that the model was trained with"
        )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{file} isn't valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no JSON object")
    return content
