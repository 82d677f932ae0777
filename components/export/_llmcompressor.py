"""Quantizes the merged model for serving with llmcompressor, in the compressed-tensors format that vLLM loads.

Calibrated on the dataset version's ``sft`` rows (else ``corpus``), rendered through the chat template. What it costs is
measured on the ``heldout`` split, which calibration never sees.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import Field

from components.artifacts import Inputs, ModelRef
from components.config import MethodConfig
from components.errors import InputError
from components.models.precision import HEADS
from components.stage import Stage

SAMPLE = 64


class Calibrated(MethodConfig):
    """Settings of an exporter that looks at data.

    Attributes:
        samples: calibration rows.
        max_length: calibration rows are cut to this many tokens.
    """

    samples: int = Field(128, ge=1)
    max_length: int = Field(512, ge=2)

    def splits(self) -> tuple[str, ...]:
        """Reads rows to calibrate on and rows to measure on."""
        return ("sft", "corpus", "heldout")


def export(calibration: Calibrated | None, inputs: Inputs, stage: Stage, recipe: Any) -> None:
    """Applies a llmcompressor recipe to ``inputs.model``; writes ``out/model``, size, loss, KL and top-1 agreement."""
    from llmcompressor import oneshot

    from components.models.compare import compare
    from components.models.load import load_model

    reference, tokenizer = load_model(inputs.model, stage.device)
    model, _ = load_model(inputs.model, stage.device)
    arguments: dict[str, Any] = {}
    if calibration is not None:
        rows = _calibration(tokenizer, inputs, calibration)
        arguments = dict(dataset=_dataset(rows), num_calibration_samples=len(rows), max_seq_length=calibration.max_length)
        arguments["shuffle_calibration_samples"] = False  # the first rows in their order, whatever drew random numbers before
    oneshot(model=model, recipe=recipe, tokenizer=tokenizer, **arguments)
    target = stage.out / "model"
    model.save_pretrained(str(target), save_compressed=True)
    tokenizer.save_pretrained(str(target))
    reloaded, _ = load_model(ModelRef(target, None, ""), stage.device)
    measured = asdict(compare(reference, reloaded, _measured_on(tokenizer, inputs)))
    measured.pop("tokens_equal")
    sizes = [sum(f.stat().st_size for f in place.glob("*.safetensors")) for place in (inputs.model.base, target)]
    stage.save_metrics({"bytes_before": sizes[0], "bytes": sizes[1], **measured})


def check_group_size(model_folder: Any, group_size: int) -> None:
    """Groups have to divide the input width of every linear layer.

    Raises:
        InputError: naming the widths and the largest group size that fits.
    """
    import math

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model_folder, local_files_only=True)
    with torch.device("meta"):
        modules = dict(AutoModelForCausalLM.from_config(config).named_modules())
    widths = sorted({m.in_features for name, m in modules.items() if isinstance(m, torch.nn.Linear) and name not in HEADS})
    if any(width % group_size for width in widths):
        fits = math.gcd(*widths)
        raise InputError(
            f"export.group_size={group_size} doesn't divide the layers' input widths {widths}; "
            f"use a divisor of {fits}, or 0 for one scale a channel"
        )


def _calibration(tokenizer: Any, inputs: Inputs, config: Calibrated) -> list[list[int]]:
    from components.models.probes import rendered

    splits = inputs.data.splits if inputs.data is not None else {}
    for name in ("sft", "corpus"):
        if name in splits and inputs.data is not None:
            return rendered(tokenizer, inputs.data.file(name), splits[name].kind, config.samples, config.max_length)
    raise InputError("export is calibrated on the sft or corpus split, and the dataset has neither")


def _measured_on(tokenizer: Any, inputs: Inputs) -> list[list[int]]:
    from components.models import probes

    if inputs.data is None or "heldout" not in inputs.data.splits:
        return probes.prompts(tokenizer, None, "prompts", SAMPLE)
    split = inputs.data.splits["heldout"]
    return probes.rendered(tokenizer, inputs.data.file("heldout"), split.kind, SAMPLE)


def _dataset(rows: list[list[int]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows])
