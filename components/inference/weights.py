"""Which models ``fused`` may compute, and their weights the way it wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

MOST_BYTES = 1 << 29  # of weights that are copied; in a larger model products cost more than what is saved here
_FAMILIES = {"Llama": "llama", "Qwen2": "qwen2", "Qwen3": "qwen3", "Mistral": "mistral"}
_ROTATIONS = {"default", "linear", "llama3", "yarn"}  # others depend on the sequence's length
_TORCH = (torch.nn.Linear, torch.nn.Embedding, torch.nn.ModuleList, torch.nn.SiLU)

Pair = tuple[torch.Tensor, torch.Tensor | None]  # weight and bias


def supports(model: Any) -> bool:
    """Whether the model is of a family that is computed here, small, and made of nothing but its family's own modules."""
    family = next((name for name, kind in _FAMILIES.items() if type(model).__name__ == f"{name}ForCausalLM"), None)
    config = model.config
    if family is None or config.model_type != _FAMILIES[family] or not type(model).__module__.startswith("transformers."):
        return False
    parameters = list(model.parameters())
    if sum(p.numel() * p.element_size() for p in parameters) > MOST_BYTES or len({(p.dtype, p.device) for p in parameters}) > 1:
        return False
    sliding = any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()) or (
        family == "Mistral" and getattr(config, "sliding_window", None)
    )
    width = model.model.layers[0].self_attn.head_dim
    return (
        parameters[0].dtype in (torch.float32, torch.bfloat16)
        and not sliding
        and config.hidden_act == "silu"
        and model.model.rotary_emb.rope_type in _ROTATIONS
        and 2 * len(model.model.rotary_emb.inv_freq) == width
        and all(_plain(module) for module in model.modules())
    )


def _plain(module: Any) -> bool:
    """Whether a module computes what its class says: no adapter, no quantized weights, no hook."""
    known = type(module).__module__.startswith("transformers.models.") or type(module) in _TORCH
    known = known or type(module).__module__ == "transformers.activations"
    return known and "forward" not in vars(module) and not module._forward_hooks and not module._forward_pre_hooks


def folded(norm: Any, layers: Sequence[Any]) -> tuple[torch.Tensor | None, Pair]:
    """(A norm's weight where it can't be folded, the layers behind it side by side)."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    some = [layer.bias for layer in layers if layer.bias is not None]
    bias = (
        torch.cat([layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach() for layer in layers])
        if some
        else None
    )
    if weight.dtype == torch.float32:
        return None, (weight * norm.weight.detach(), bias)
    return norm.weight.detach(), (weight, bias)  # rounded to 16 bits, the products would be others


def stamp(model: Any) -> tuple[tuple[int, int], ...]:
    """Changes when a weight is replaced or written to."""
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in model.parameters())
