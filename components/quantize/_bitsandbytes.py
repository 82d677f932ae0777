"""Quantizes a base model with bitsandbytes (Dettmers et al. 2023, arXiv 2305.14314 §3) and measures what it costs."""

from __future__ import annotations

from typing import Any

from components.artifacts import Inputs, ModelRef
from components.errors import InputError
from components.models.precision import BLOCKS_4BIT, HEADS, packs_4bit
from components.quantize._measure import SPLITS, measured, refuse_quantized
from components.stage import Stage

__all__ = ["SPLITS", "quantize"]


def quantize(inputs: Inputs, stage: Stage, **settings: Any) -> None:
    """Loads ``inputs.model`` quantized, saves it as ``out/model``, compares it with the original.

    Args:
        settings: keyword arguments of transformers' ``BitsAndBytesConfig``.

    Raises:
        InputError: if no linear layer can be quantized, or the model is quantized already.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from components.models.load import load_model, load_tokenizer

    folder = inputs.model.base
    refuse_quantized(folder)
    reference, tokenizer = load_model(inputs.model, stage.device)
    left_out = _left_out(reference, bool(settings.get("load_in_4bit")))
    compute = torch.float32 if stage.device == "cpu" else torch.bfloat16
    if settings.get("load_in_4bit"):
        settings["bnb_4bit_compute_dtype"] = compute
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=compute,
        quantization_config=BitsAndBytesConfig(llm_int8_skip_modules=[*HEADS, *left_out], **settings),
        device_map=stage.device,
        use_safetensors=True,
        local_files_only=True,
    )
    target = stage.out / "model"
    model.save_pretrained(str(target))
    load_tokenizer(folder).save_pretrained(str(target))
    reloaded, _ = load_model(ModelRef(target, None, ""), stage.device)  # as every later stage computes with it
    stage.save_metrics({"left_out": left_out, **measured(reference, tokenizer, reloaded, inputs, target)})


def _left_out(model: Any, four_bit: bool) -> list[str]:
    """Linear modules whose widths 4-bit kernels can't pack: they stay as they are.

    Raises:
        InputError: if none is left to quantize.
    """
    import torch

    linear = {n: m for n, m in model.named_modules() if type(m) is torch.nn.Linear and n not in HEADS}  # as bitsandbytes takes them
    if not linear:
        raise InputError(
            f"bitsandbytes can quantize no layer of {type(model).__name__}: none is a plain linear one; take out 'quantize:'"
        )
    odd = sorted(n for n, m in linear.items() if not packs_4bit(m)) if four_bit else []
    if len(odd) == len(linear):
        widths = sorted({(m.in_features, m.out_features) for m in linear.values()})
        raise InputError(
            f"no layer can be quantized to 4 bits: of the (input, output) widths {widths} none are multiples of "
            f"{BLOCKS_4BIT}; use method: int8"
        )
    return odd
