"""Merges what was trained into full weights.

A LoRA on a 4-bit base was trained against the base's *dequantized* weights, so it is merged into those: merging into the
original weights would make a model that nobody trained (its answers differ by the quantization error).
"""

from __future__ import annotations

from typing import Literal

from components.artifacts import Inputs, ModelRef
from components.config import MethodConfig
from components.stage import Stage

PROBES = 8


class Config(MethodConfig):
    """No settings."""

    method: Literal["merge"] = "merge"


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes ``out/model`` (float32 on a CPU, bfloat16 on a GPU) and how far it is from what was trained."""
    from dataclasses import asdict

    from components.models import probes
    from components.models.compare import compare
    from components.models.load import load_model, load_tokenizer
    from components.models.plain import plain_model

    trained, tokenizer = load_model(inputs.model, stage.device)
    merged = plain_model(inputs.model, stage.device)
    target = stage.out / "model"
    merged.save_pretrained(str(target))
    load_tokenizer(inputs.model.base).save_pretrained(str(target))
    rows = probes.prompts(tokenizer, None, "prompts", PROBES)
    measured = asdict(compare(trained, load_model(ModelRef(target, None, ""), stage.device)[0], rows))
    size = sum(f.stat().st_size for f in target.glob("*.safetensors"))
    stage.save_metrics({"bytes": size, **{k: measured[k] for k in ("max_abs", "kl", "top1", "positions")}})
