"""Full fine-tuning: every weight trains."""

from __future__ import annotations

from typing import Any, Literal

from components.config import MethodConfig
from components.errors import InputError


class Config(MethodConfig):
    """No settings."""

    method: Literal["full"] = "full"


def apply(config: Config, model: Any) -> Any:
    """Makes every weight trainable.

    Raises:
        InputError: if the model is quantized: integers have no gradient.
    """
    if getattr(model, "is_quantized", False):
        raise InputError("adapter.method=full can't train a quantized model; take out 'quantize:' or use method: lora")
    model.requires_grad_(True)
    return model
