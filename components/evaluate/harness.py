"""Evaluates a model on benchmarks through lm-evaluation-harness, with our engine under it; see ``components.evaluate._measure``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.artifacts import Inputs
from components.evaluate._config import EvaluateConfig
from components.stage import Stage

_SPECIAL = 8  # tokens at most that a tokenizer adds around a text


class Config(EvaluateConfig):
    """An evaluation of a model that is here.

    Attributes:
        batch_tokens: prompt and answer tokens in a batch.
    """

    method: Literal["harness"] = "harness"
    batch_tokens: int = Field(32768, ge=1)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Runs all benchmarks on ``inputs.model``."""
    from components.evaluate._measure import measure
    from components.inference.dequantize import dequantize
    from components.inference.engine import Engine
    from components.inference.harness import EngineLM
    from components.models.load import load_model

    model, tokenizer = load_model(inputs.model, stage.device)
    if stage.device == "cpu":
        dequantize(model)
    lm = EngineLM(
        Engine(model, tokenizer, stage.device, on_progress=stage.events.progress),
        seed=stage.seed,
        batch_tokens=config.batch_tokens,
    )
    context = lm.engine.context

    def fits(prompt: str) -> bool:
        # No token stands for less than a byte, so most prompts needn't be counted.
        return len(prompt.encode("utf-8", "surrogatepass")) + _SPECIAL < context or len(lm.tok_encode(prompt)) < context

    measure(config, inputs, stage, lm, context, fits)
