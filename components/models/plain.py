"""A model with plain weights: dequantized, its adapter added in."""

from __future__ import annotations

from typing import Any

from components.artifacts import ModelRef


def plain_model(ref: ModelRef, device: str) -> Any:
    """The model of a reference as one set of floating-point weights, in evaluation mode."""
    from components.inference.dequantize import dequantize
    from components.models.load import load_model
    from components.models.precision import is_packed, unpack

    model, _ = load_model(ModelRef(ref.base, None, ""), device)
    if getattr(model, "is_quantized", False):
        if is_packed(model):
            unpack(model)
        elif not dequantize(model):
            model = model.dequantize()
        _forget_quantization(model)
    if ref.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(ref.adapter), torch_device=device).merge_and_unload()
    return model


def _forget_quantization(model: Any) -> None:
    """Removes what would make ``save_pretrained`` write the dequantized weights in the quantized layout."""
    for name in ("hf_quantizer", "quantization_method", "_weight_conversions"):
        if hasattr(model, name):
            delattr(model, name)
    model.is_quantized = model.is_loaded_in_4bit = model.is_loaded_in_8bit = False
    if hasattr(model.config, "quantization_config"):  # the model's own dequantize has taken it out
        del model.config.quantization_config
