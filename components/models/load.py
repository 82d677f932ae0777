"""Loads a model from files: safetensors only, no code from the model's folder, float32 on a CPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from components.artifacts import ModelRef
from components.errors import InputError


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder; padding falls back to the end token.

    Raises:
        InputError: if its files can't be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises nothing more special
        said = " ".join(str(error).split())[:300]
        raise InputError(f"the tokenizer in {folder} can't be loaded: {said}; copy the one the model was trained with") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(ref: ModelRef, device: str = "cpu", trainable: bool = False) -> tuple[Any, Any]:
    """(model, tokenizer) of a reference.

    Args:
        trainable: makes the adapter's weights trainable. Without it the model is in evaluation mode and nothing has a
            gradient.

    Raises:
        InputError: if the files aren't a model that this transformers knows, or lack some of its weights.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from components.models.precision import is_packed, unpack

    quieten()
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            ref.base,
            dtype=torch.float32 if device == "cpu" else torch.bfloat16,
            device_map=device,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # it tells of them, and they are refused below
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"{ref.base} can't be loaded: {said}; check its config.json, or copy the model again") from error
    if wrong := sorted(told["mismatched_keys"]):
        name, stored, asked = wrong[0]
        raise InputError(
            f"{ref.base}: {name} has the shape {list(stored)}, config.json asks for {list(asked)}; "
            "copy config.json and all *.safetensors from the same place"
        )
    if missing := sorted(told["missing_keys"]):  # transformers would go on with random ones
        raise InputError(
            f"{ref.base} isn't whole: {len(missing)} of the weights that config.json asks for aren't there, "
            f"for example {missing[0]}; copy config.json and all *.safetensors from the same place"
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
