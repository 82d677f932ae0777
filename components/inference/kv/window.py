"""Window with sinks (StreamingLLM, arXiv 2309.17453): the first tokens and the latest ones stay, while decoding too.

Keys keep their true positions: a model stays in its context limit by the limit on positions, not by this method.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.inference.kv._layer import Kept, KVConfig, Layer, everything, keep, kept_count


class Config(KVConfig):
    """Settings."""

    method: Literal["window"] = "window"
    sinks: int = Field(4, ge=0, description="First tokens that stay, on which attention rests whatever they say.")


def compress(config: Config, layer: Layer) -> Kept:
    """Keeps ``1 - ratio`` of the true length: the sinks, and as many latest positions as fit beside them."""
    import torch

    cached = layer.keys.shape[2]
    count = min(cached, kept_count(layer.length, config.ratio))
    if count == cached:
        return everything(layer)
    # The latest token always stays: it is the one that the next token continues.
    sinks = min(config.sinks, count - 1)
    device = layer.keys.device
    places = torch.cat([torch.arange(sinks, device=device), torch.arange(cached - count + sinks, cached, device=device)])
    return keep(layer, places.expand(*layer.keys.shape[:2], -1))


step = compress
