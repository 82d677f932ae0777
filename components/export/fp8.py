"""FP8: 8-bit floating-point weights a channel, activations a token, scaled at run time (arXiv 2209.05433), by llmcompressor."""

from __future__ import annotations

from typing import Literal

from components.artifacts import Inputs
from components.config import MethodConfig
from components.export._llmcompressor import export
from components.models.precision import HEADS
from components.stage import Stage


class Config(MethodConfig):
    """No settings: it needs no calibration."""

    method: Literal["fp8"] = "fp8"

    def splits(self) -> tuple[str, ...]:
        """Reads rows to measure on."""
        return ("heldout",)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes the FP8 model."""
    from llmcompressor.modifiers.quantization import QuantizationModifier

    export(None, inputs, stage, QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=list(HEADS)))
