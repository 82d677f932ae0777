"""Bits of its own for each layer: integers rounded to nearest, packed as compressed-tensors (which vLLM loads at 4 and 8 bits).

The bits are the recipe's, or what its ``search`` has chosen. On a CPU, and while it trains, a layer computes with the weights
that its integers stand for; so the stored model is as small as its bits say, and training takes the memory of plain weights.
"""

from __future__ import annotations

from typing import Literal

from components.artifacts import Inputs, ModelRef
from components.config import MethodConfig
from components.errors import InputError
from components.models.precision import Width
from components.quantize._measure import SPLITS, measured, refuse_quantized
from components.stage import Stage


class Config(MethodConfig):
    """Bits of a weight in each decoder layer, 16 for a layer that is left as it is; None takes what ``search`` has chosen."""

    method: Literal["mixed"] = "mixed"
    bits: tuple[Width, ...] | None = None

    def splits(self) -> tuple[str, ...]:
        """Reads rows to measure the loss on."""
        return SPLITS


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes the quantized model, its size, loss, and KL to the original.

    Raises:
        InputError: if neither the recipe nor a search says the bits.
    """
    from components.models.load import load_model
    from components.models.precision import pack

    bits = config.bits if config.bits is not None else inputs.choice.bits if inputs.choice is not None else None
    if bits is None:
        raise InputError("quantize.method=mixed needs bits for each layer: add quantize.bits, or a search section that finds them")
    refuse_quantized(inputs.model.base)
    reference, tokenizer = load_model(inputs.model, stage.device)
    target = stage.out / "model"
    pack(load_model(inputs.model, stage.device)[0], bits, target)
    tokenizer.save_pretrained(str(target))
    reloaded, _ = load_model(ModelRef(target, None, ""), stage.device)
    stage.save_metrics({"bits": list(bits), **measured(reference, tokenizer, reloaded, inputs, target)})
