"""A 4-bit model and its dequantized form are the same function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from components.inference.dequantize import dequantize
from components.models.load import keep_weight_layout


def quantized(folder: Path, kind: str) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=config, device_map="cpu").eval()
    keep_weight_layout(model)
    return model


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("adapted", [False, True])
def test_logits_stay(tiny_llama: Path, kind: str, adapted: bool) -> None:
    from bitsandbytes.nn import Linear4bit
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = quantized(tiny_llama, kind)
    if adapted:
        torch.manual_seed(1)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).eval()
    ids = torch.arange(3, 43).reshape(2, 20)
    with torch.inference_mode():
        before = model(ids).logits
        assert dequantize(model) == 14  # seven layers in each of two blocks
        after = model(ids).logits
        exact = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()(ids).logits
    assert not any(isinstance(m, Linear4bit) for m in model.modules())
    assert (before - after).abs().max() < 1e-4
    assert (exact - after).abs().max() > 1e-3  # it is the quantized model, not the one before


def test_a_plain_model_has_nothing_to_replace(tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    assert dequantize(AutoModelForCausalLM.from_pretrained(tiny_llama)) == 0
