"""Quantized cache after KIVI (arXiv 2402.02750): keys a channel, values a token, the latest tokens in full precision.

``ratio`` is the share of bytes to save: the widest of 8, 4 and 2 bits that saves it, scales and offsets counted, is taken.
transformers' ``QuantizedCache`` needs hqq or optimum-quanto for its backends; a group's affine codes are a few lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.errors import InputError
from components.inference.kv._layer import Kept, KVConfig, Layer, everything

if TYPE_CHECKING:
    from torch import Tensor

SCALE_BYTES = 4
"""A group's scale and offset, each in float16."""


class Config(KVConfig):
    """Settings."""

    method: Literal["quantized"] = "quantized"
    group: int = Field(32, ge=2, description="Tokens that share a channel's scale; fewer than these wait in full precision.")


def compress(config: Config, layer: Layer) -> Kept:
    """No position is removed; ``storage`` holds them in fewer bits."""
    return everything(layer)


def bits(config: Config, key_width: int, value_width: int, itemsize: int) -> int | None:
    """Bits a number that save at least ``ratio``; None for ratio 0.

    Raises:
        InputError: if two bits don't save as much.
    """
    if config.ratio == 0:
        return None
    full = (key_width + value_width) * itemsize
    saved = 0.0
    for width in (8, 4, 2):
        # A key channel's scale serves ``group`` tokens, a value's scale one token.
        key = _packed(config.group, width) * key_width / config.group + key_width * SCALE_BYTES / config.group
        value = _packed(value_width, width) + SCALE_BYTES
        saved = 1 - (key + value) / full
        if saved >= config.ratio:
            return width
    raise InputError(
        f"kv ratio={config.ratio} is more than a quantized cache can save on this model: 2 bits save {saved:.2f}; "
        "ask for less or choose a method that removes positions"
    )


def storage(config: Config) -> Any:
    """An empty cache layer for transformers' ``Cache``: quantizes what it is given, hands back dequantized states."""
    from components.inference.kv._quantized_layer import QuantizedLayer

    return QuantizedLayer(config)


def encode(states: Tensor, width: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """(codes packed along ``dim`` into bytes, scale, offset): affine over ``dim``, which the latter two have as 1."""
    import torch

    low, high = states.float().amin(dim, keepdim=True), states.float().amax(dim, keepdim=True)
    offset = low.to(torch.float16)
    scale = ((high - low) / (2**width - 1)).clamp(min=6e-8).to(torch.float16)
    codes = ((states.float() - offset.float()) / scale.float()).round().clamp(0, 2**width - 1).to(torch.uint8)
    per = 8 // width
    size = states.shape[dim]
    if missing := -size % per:
        codes = torch.cat([codes, torch.zeros_like(codes.narrow(dim, 0, 1)).repeat_interleave(missing, dim)], dim)
    parts = codes.unflatten(dim, (-1, per)).movedim(dim + 1, -1)
    shifts = torch.arange(per, device=codes.device, dtype=torch.uint8) * width
    return (parts << shifts).sum(-1, dtype=torch.uint8), scale, offset


def decode(coded: tuple[Tensor, Tensor, Tensor], width: int, dim: int, size: int) -> Tensor:
    """The states that ``encode`` was given, to within half a step; float32."""
    import torch

    packed, scale, offset = coded
    shifts = torch.arange(8 // width, device=packed.device, dtype=torch.uint8) * width
    codes = (packed.unsqueeze(-1) >> shifts) & (2**width - 1)
    dim = dim % packed.ndim
    codes = codes.movedim(-1, dim + 1).flatten(dim, dim + 1).narrow(dim, 0, size)
    states: Tensor = codes.float() * scale.float() + offset.float()
    return states


def _packed(size: int, width: int) -> int:
    return -(-size * width // 8)
