"""NF4 by bitsandbytes: 4 bits a weight, levels at quantiles of a normal distribution (Dettmers et al. 2023, arXiv 2305.14314)."""

from __future__ import annotations

from typing import Literal

from components.artifacts import Inputs
from components.config import MethodConfig
from components.quantize._bitsandbytes import SPLITS, quantize
from components.stage import Stage


class Config(MethodConfig):
    """Whether the blocks' scales are quantized too (saves about 0.4 bit a weight)."""

    method: Literal["nf4"] = "nf4"
    double_quant: bool = True

    def splits(self) -> tuple[str, ...]:
        """Reads rows to measure the loss on."""
        return SPLITS


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes the quantized model, its size, loss, and KL to the original."""
    quantize(inputs, stage, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=config.double_quant)
