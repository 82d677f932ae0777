"""LLM.int8() by bitsandbytes: 8 bits a weight, outlier columns in higher precision (Dettmers et al. 2022, arXiv 2208.07339)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.artifacts import Inputs
from components.config import MethodConfig
from components.quantize._bitsandbytes import SPLITS, quantize
from components.stage import Stage


class Config(MethodConfig):
    """Activations above ``threshold`` are outliers and multiplied in higher precision."""

    method: Literal["int8"] = "int8"
    threshold: float = Field(6.0, ge=0)

    def splits(self) -> tuple[str, ...]:
        """Reads rows to measure the loss on."""
        return SPLITS


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes the quantized model, its size, loss, and KL to the original."""
    quantize(inputs, stage, load_in_8bit=True, llm_int8_threshold=config.threshold)
