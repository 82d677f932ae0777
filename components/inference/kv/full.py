"""The full cache: nothing is removed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.inference.kv._layer import Kept, KVConfig, Layer, everything


class Config(KVConfig):
    """Settings."""

    method: Literal["full"] = "full"
    ratio: float = Field(0.0, ge=0, le=0, description="The full cache removes nothing.")


def compress(config: Config, layer: Layer) -> Kept:
    """Everything stays."""
    return everything(layer)
