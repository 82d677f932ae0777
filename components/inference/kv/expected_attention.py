"""Expected attention (arXiv 2510.00636): keeps the positions to which future queries will attend most.

Queries before RoPE are taken as Gaussian, with the mean and covariance of the prompt's beyond its sinks, rotated by the
average of the RoPE matrices of the next positions. The attention that they give to a key is then known in closed form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from components.inference.kv._layer import Kept, KVConfig, Layer, everything, keep, kept_count, queries, rotary, rotate_half

if TYPE_CHECKING:
    from torch import Tensor


class Config(KVConfig):
    """Settings."""

    method: Literal["expected_attention"] = "expected_attention"
    sinks: int = Field(4, ge=0, description="First tokens: always kept where they fit, and left out of the statistics.")
    future: int = Field(512, ge=1, description="Next positions over which RoPE is averaged.")


def compress(config: Config, layer: Layer) -> Kept:
    """Keeps ``1 - ratio`` of a prompt's positions, those of each head by themselves."""
    places = best(config, layer)
    return everything(layer) if places is None else keep(layer, places)


def best(config: Config, layer: Layer) -> Tensor | None:
    """Places of the best keys, [batch, kv_heads, kept]; None where everything stays.

    Raises:
        InputError: if the model has no queries before RoPE.
    """
    cached = layer.keys.shape[2]
    count = kept_count(cached, config.ratio)
    if cached <= config.sinks or count == cached:
        return None
    return scores(config, layer).topk(count, -1).indices


def scores(config: Config, layer: Layer) -> Tensor:
    """softmax(kᵀμ/√d + kᵀΣk/2d), averaged over the query group, times ‖v‖; [batch, kv_heads, cached], infinite for sinks."""
    import torch

    mean, covariance = _future_queries(config, layer)
    keys, values = layer.keys[:, :, config.sinks :], layer.values[:, :, config.sinks :]
    scale = layer.attention.scaling
    batch, kv_heads, _, width = keys.shape
    mean = mean.view(batch, kv_heads, -1, width)
    covariance = covariance.view(batch, kv_heads, -1, width, width)
    logits = torch.einsum("bhnd,bhgd->bhgn", keys, mean) * scale
    logits = logits + torch.einsum("bhni,bhgij,bhnj->bhgn", keys, covariance, keys) * scale**2 / 2
    expected = logits.softmax(-1).mean(2) * values.norm(dim=-1)
    return torch.cat([expected.new_full((batch, kv_heads, config.sinks), torch.inf), expected], -1)


def _future_queries(config: Config, layer: Layer) -> tuple[Tensor, Tensor]:
    """Mean [batch, heads, head_dim] and covariance [batch, heads, head_dim, head_dim] of the next positions' queries."""
    import torch

    states = queries(layer.attention, layer.hidden[:, config.sinks :])
    mean = states.mean(2)
    centred = states - mean.unsqueeze(2)
    covariance = centred.transpose(-2, -1) @ centred / states.shape[2]
    cos, sin = (part.mean(0) for part in rotary(layer, layer.length, config.future))
    identity = torch.eye(cos.shape[-1], device=cos.device, dtype=cos.dtype)
    # Rows are the rotated basis vectors, so vectors are rotated from the right.
    rotation = identity * cos + rotate_half(identity) * sin
    return mean @ rotation, rotation.T @ covariance @ rotation
