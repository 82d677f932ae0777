"""GPTQ, 4-bit weights and 16-bit activations (Frantar et al. 2022, arXiv 2210.17323), by llmcompressor."""

from __future__ import annotations

from typing import Literal

from components.artifacts import Inputs
from components.export._llmcompressor import Calibrated, check_group_size, export
from components.models.precision import HEADS
from components.stage import Stage


class Config(Calibrated):
    """Weights that share a scale along the input; 0 is one scale a channel. vLLM's kernels take 32, 64, 128 and 0."""

    method: Literal["gptq"] = "gptq"
    group_size: Literal[0, 32, 64, 128] = 128


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes the W4A16 model."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import GPTQModifier

    if config.group_size:
        check_group_size(inputs.model.base, config.group_size)
    grouped = dict(strategy="group", group_size=config.group_size) if config.group_size else dict(strategy="channel")
    weights = QuantizationArgs(num_bits=4, type="int", symmetric=True, **grouped)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    export(config, inputs, stage, GPTQModifier(config_groups={"group_0": scheme}, ignore=list(HEADS)))
