"""W8A8: 8-bit weights a channel, 8-bit activations a token, weights by GPTQ (arXiv 2210.17323), by llmcompressor."""

from __future__ import annotations

from typing import Literal

from components.artifacts import Inputs
from components.export._llmcompressor import Calibrated, export
from components.models.precision import HEADS
from components.stage import Stage


class Config(Calibrated):
    """No settings of its own."""

    method: Literal["w8a8"] = "w8a8"


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes the W8A8 model."""
    from llmcompressor.modifiers.quantization import GPTQModifier

    export(config, inputs, stage, GPTQModifier(targets="Linear", scheme="W8A8", ignore=list(HEADS)))
