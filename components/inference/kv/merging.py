"""Cache merging (D2O, arXiv 2406.13035; token merging, arXiv 2210.09461): what expected attention evicts isn't lost.

Each evicted value is folded into that of the most similar kept key. Keys stay as they are: a mean of keys rotated to
different positions is a key of no position.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from components.inference.kv import expected_attention
from components.inference.kv._layer import Kept, KVConfig, Layer, everything, keep

if TYPE_CHECKING:
    from torch import Tensor


class Config(KVConfig):
    """Settings."""

    method: Literal["merging"] = "merging"
    sinks: int = Field(4, ge=0, description="As in expected attention, which decides what is kept.")
    future: int = Field(512, ge=1, description="Likewise.")
    similarity: float = Field(0.0, ge=0, le=1, description="Cosine between keys below which a value is dropped, not merged.")


def compress(config: Config, layer: Layer) -> Kept:
    """Keeps what expected attention keeps, with the evicted values folded in."""
    scorer = expected_attention.Config(ratio=config.ratio, sinks=config.sinks, future=config.future)
    places = expected_attention.best(scorer, layer)
    if places is None:
        return everything(layer)
    kept = keep(layer, places)
    return replace(kept, values=_fold(config, layer, kept.keys, kept.values, places))


def _fold(config: Config, layer: Layer, keys: Tensor, values: Tensor, places: Tensor) -> Tensor:
    """Kept values after merging: (v + Σ w u)/(1 + Σ w) over the evicted u, with w = cos(k, k') ‖u‖/(‖u‖ + ‖v‖)."""
    import torch

    evicted = torch.ones(layer.keys.shape[:3], dtype=torch.bool, device=places.device).scatter(2, places, False)
    shape = (*layer.keys.shape[:2], -1, values.shape[-1])
    lost_keys = layer.keys[evicted].view(shape).float()
    lost_values = layer.values[evicted].view(shape).float()
    unit = torch.nn.functional.normalize
    likeness, target = (unit(lost_keys, dim=-1) @ unit(keys.float(), dim=-1).transpose(-2, -1)).max(-1)
    size, target_size = lost_values.norm(dim=-1), values.float().norm(dim=-1).gather(2, target)
    weight = likeness.clamp(min=0) * (likeness >= config.similarity) * size / (size + target_size + 1e-6)
    total = torch.ones(values.shape[:3], device=values.device).scatter_add(2, target, weight)
    index = target.unsqueeze(-1).expand_as(lost_values)
    return (values.float().scatter_add(2, index, weight.unsqueeze(-1) * lost_values) / total.unsqueeze(-1)).to(values.dtype)
