"""CaM-like merging while decoding (Zhang et al., ICML 2024, "CaM: Cache Merging for Memory-efficient LLMs Inference").

Evicts as the window with sinks does. A position that leaves while decoding gives its value to the ``merge`` positions after
it, each an equal share, with a probability: its attention over their mean attention (at most 1). As in the authors' code
the attention is that of the token being decoded, and a prompt's positions leave unmerged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from components.inference.kv import window
from components.inference.kv._layer import Kept, KVConfig, Layer, everything, kept_count, queries, rotary, rotate_half

if TYPE_CHECKING:
    from torch import Tensor


class Config(KVConfig):
    """Settings."""

    method: Literal["cam"] = "cam"
    sinks: int = Field(4, ge=0, description="First tokens that stay.")
    merge: int = Field(32, ge=1, description="Positions that share the value of one that leaves.")
    seed: int = Field(0, ge=0, description="Decides the draws, with the layer and the true length.")


def compress(config: Config, layer: Layer) -> Kept:
    """The prompt's sinks and latest positions."""
    if config.ratio:
        attention(layer)  # a model without queries is refused before anything is decoded
    return window.compress(window.Config(ratio=config.ratio, sinks=config.sinks), layer)


def step(config: Config, layer: Layer) -> Kept:
    """Makes room by merging the oldest position beyond the sinks into those after it, until the kept count is reached."""
    import torch

    count = kept_count(layer.length, config.ratio)
    sinks = min(config.sinks, count - 1)
    while layer.keys.shape[2] > count:
        layer = replace(layer, values=_merged(config, layer, sinks))
        left = torch.arange(layer.keys.shape[2], device=layer.keys.device) != sinks
        layer = replace(layer, keys=layer.keys[:, :, left], values=layer.values[:, :, left], positions=layer.positions[:, :, left])
    return everything(layer)


def _merged(config: Config, layer: Layer, place: int) -> Tensor:
    """The layer's values after the one at ``place`` has given its share to those behind it, where the draw says so."""
    import torch

    mass = attention(layer)
    behind = slice(place + 1, place + 1 + config.merge)
    heirs = mass[:, :, behind]
    chance = (mass[:, :, place] / heirs.mean(-1).clamp(min=torch.finfo(mass.dtype).tiny)).clamp(max=1)
    # One draw a head, the same for every row: a request's answer doesn't depend on its batch.
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + layer.index * 100_003 + layer.length)
    drawn = torch.rand(chance.shape[1], generator=generator).to(chance.device) < chance
    share = layer.values[:, :, place] * drawn.unsqueeze(-1) / heirs.shape[-1]
    values = layer.values.clone()
    values[:, :, behind] += share.unsqueeze(2).to(values.dtype)
    return values


def attention(layer: Layer) -> Tensor:
    """What the latest token attends to, averaged over the query group; [batch, kv_heads, cached], each row sums to 1."""
    import torch

    states = queries(layer.attention, layer.hidden[:, -1:])
    cos, sin = rotary(layer, layer.length - 1, 1)
    states = states * cos + rotate_half(states) * sin
    batch, kv_heads, _, width = layer.keys.shape
    grouped = states.view(batch, kv_heads, -1, width)
    logits = torch.einsum("bhgd,bhnd->bhgn", grouped, layer.keys) * layer.attention.scaling
    weights: Tensor = logits.float().softmax(-1).mean(2)
    return weights
