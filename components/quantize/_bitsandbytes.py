"""Quantizes a base model with bitsandbytes (Dettmers et al. 2023, arXiv 2305.14314 §3) and measures what it costs.

Loss, KL and top-1 agreement are taken on the first ``SAMPLE`` rows of the ``heldout`` split, rendered as prompts, and
of the ``sft`` split, rendered as whole conversations; the model is quantized without calibration, so none leaks.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from components.artifacts import Inputs
from components.errors import InputError
from components.stage import Stage

SAMPLE = 64
SPLITS = ("sft", "heldout")
_BLOCK_IN, _BLOCK_OUT = 64, 32


def quantize(inputs: Inputs, stage: Stage, **settings: Any) -> None:
    """Loads ``inputs.model`` quantized, saves it as ``out/model``, compares it with the original.

    Args:
        settings: keyword arguments of transformers' ``BitsAndBytesConfig``.

    Raises:
        InputError: if no linear layer can be quantized, or the model is quantized already.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

    from components.models.compare import compare
    from components.models.load import load_model, load_tokenizer

    folder = inputs.model.base
    if getattr(AutoConfig.from_pretrained(folder, local_files_only=True), "quantization_config", None) is not None:
        raise InputError(f"model {folder} is quantized already; take out 'quantize:' or start from the full weights")
    reference, tokenizer = load_model(inputs.model, stage.device)
    left_out = _left_out(reference, bool(settings.get("load_in_4bit")))
    compute = torch.float32 if stage.device == "cpu" else torch.bfloat16
    if settings.get("load_in_4bit"):
        settings["bnb_4bit_compute_dtype"] = compute
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=compute,
        quantization_config=BitsAndBytesConfig(llm_int8_skip_modules=["lm_head", *left_out], **settings),
        device_map=stage.device,
        use_safetensors=True,
        local_files_only=True,
    )
    target = stage.out / "model"
    model.save_pretrained(str(target))
    load_tokenizer(folder).save_pretrained(str(target))
    rows = _rows(tokenizer, inputs)
    measured = asdict(compare(reference, model.eval(), rows))
    measured.pop("tokens_equal")
    sizes = [sum(f.stat().st_size for f in place.glob("*.safetensors")) for place in (folder, target)]
    stage.save_metrics({"bytes_before": sizes[0], "bytes": sizes[1], "left_out": left_out, **measured})


def _left_out(model: Any, four_bit: bool) -> list[str]:
    """Linear modules whose widths 4-bit kernels can't pack (input in blocks of 64, output of 32): they stay as they are.

    Raises:
        InputError: if none is left to quantize.
    """
    import torch

    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}
    odd = sorted(n for n, m in linear.items() if m.in_features % _BLOCK_IN or m.out_features % _BLOCK_OUT) if four_bit else []
    if len(odd) == len(linear):
        widths = sorted({(m.in_features, m.out_features) for m in linear.values()})
        raise InputError(
            f"no layer can be quantized to 4 bits: of the (input, output) widths {widths} none are multiples of "
            f"({_BLOCK_IN}, {_BLOCK_OUT}); use method: int8"
        )
    return odd


def _rows(tokenizer: Any, inputs: Inputs) -> list[list[int]]:
    from components.models.probes import rendered

    if inputs.data is None:
        raise InputError("quantization is measured on a dataset version; add a data section")
    present = [inputs.data.splits[name] for name in SPLITS if name in inputs.data.splits]
    rows = [row for split in present for row in rendered(tokenizer, inputs.data.file(split.name), split.kind, SAMPLE)]
    if not rows:
        raise InputError(f"the dataset has neither of the splits {', '.join(SPLITS)}, on which quantization is measured")
    return rows
