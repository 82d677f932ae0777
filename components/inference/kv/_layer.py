"""What a KV cache method gets and returns, and what several of them need: kept counts, queries before and after RoPE."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.config import MethodConfig
from components.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


class KVConfig(MethodConfig):
    """Settings that every method has."""

    ratio: float = Field(0.5, ge=0, lt=1, description="Share of the cache that is removed; 0 is the full cache.")


@dataclass(frozen=True)
class Layer:
    """The cache of one layer after a forward pass, for requests of equal true length.

    Attributes:
        index: the layer's number.
        keys: [batch, kv_heads, cached, head_dim], after RoPE as in transformers' cache.
        values: likewise.
        positions: true positions of what is cached, [batch, kv_heads, cached], ascending.
        length: true length so far; the next token has this position.
        hidden: what went into the attention of this forward pass, [batch, new tokens, width].
        attention: the attention module.
        rotary: the model's rotary embedding, if it has one.
    """

    index: int
    keys: Tensor
    values: Tensor
    positions: Tensor
    length: int
    hidden: Tensor
    attention: Any
    rotary: Any


@dataclass(frozen=True)
class Kept:
    """What stays of a layer: keys, values [batch, kv_heads, kept, head_dim] and true positions [batch, kv_heads, kept]."""

    keys: Tensor
    values: Tensor
    positions: Tensor


def kept_count(length: int, ratio: float) -> int:
    """Positions that stay of ``length``: rounded down, at least one.

    >>> kept_count(10, 0.25), kept_count(3, 0.9)
    (7, 1)
    """
    return max(1, int(length * (1 - ratio)))


def everything(layer: Layer) -> Kept:
    """The layer as it is."""
    return Kept(layer.keys, layer.values, layer.positions)


def keep(layer: Layer, places: Tensor) -> Kept:
    """The layer at places of its cache, [batch, kv_heads, kept], which are sorted first."""
    places = places.sort(-1).values
    return Kept(
        _take(layer.keys, places),
        _take(layer.values, places),
        layer.positions.gather(2, places),
    )


def queries(attention: Any, hidden: Tensor) -> Tensor:
    """Queries before RoPE, [batch, heads, tokens, head_dim].

    Raises:
        InputError: if the attention has no such queries (latent attention), or makes them in a way that we don't know.
    """
    if hasattr(attention, "kv_lora_rank") or not (hasattr(attention, "q_proj") or hasattr(attention, "qkv_proj")):
        raise InputError(
            f"{type(attention).__name__} has no separate queries before RoPE, which this KV cache method needs; "
            "use full, quantized or window"
        )
    heads, width = attention.config.num_attention_heads, attention.head_dim
    split = hasattr(attention, "q_proj")
    states = attention.q_proj(hidden) if split else attention.qkv_proj(hidden)[..., : heads * width]
    norm = getattr(attention, "q_norm", None)
    # Qwen3 normalises each head, OLMo 2 all heads together.
    if norm is not None and norm.weight.shape[-1] != width:
        states, norm = norm(states), None
    states = states.view(*hidden.shape[:-1], heads, width)
    if norm is not None:
        states = norm(states)
    result: Tensor = states.transpose(1, 2)
    return result


def rotary(layer: Layer, start: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of ``tokens`` positions from ``start`` on, each [tokens, head_dim].

    Raises:
        InputError: if the model doesn't rotate whole heads in halves, as Llama, Qwen and Mixtral do.
    """
    import torch

    rotate = getattr(sys.modules[type(layer.attention).__module__], "rotate_half", None)
    if layer.rotary is None or rotate is None or rotate(torch.arange(4)).tolist() != [-2, -3, 0, 1]:
        raise InputError(
            f"{type(layer.attention).__name__} doesn't rotate its heads in halves (RoPE), on which this KV cache method rests; "
            "use full, quantized or window"
        )
    positions = torch.arange(start, start + tokens, device=layer.keys.device).unsqueeze(0)
    cos, sin = layer.rotary(layer.hidden, positions)
    if cos.ndim != 3 or cos.shape[-1] != layer.keys.shape[-1]:
        raise InputError(
            f"{type(layer.attention).__name__} rotates {cos.shape[-1]} of {layer.keys.shape[-1]} dimensions; this KV cache "
            "method needs all of them rotated by one position; use full, quantized or window"
        )
    return cos[0], sin[0]


def rotate_half(states: Tensor) -> Tensor:
    """(a, b) → (-b, a), with the last dimension in two halves."""
    import torch

    first, second = states.chunk(2, -1)
    return torch.cat([-second, first], -1)


def _take(states: Tensor, places: Tensor) -> Tensor:
    return states.gather(2, places.unsqueeze(-1).expand(-1, -1, -1, states.shape[-1]))
