"""Turns 4-bit layers into plain float32 ones for inference on a CPU, where unpacking them at every step is what costs.

The function is the same: bitsandbytes' 4-bit layer multiplies by exactly these weights. (Its 8-bit layer also rounds the
activations, so it stays as it is.) The adapter of a layer stays on it.
"""

from __future__ import annotations

from typing import Any


def dequantize(model: Any) -> int:
    """Replaces every ``Linear4bit`` in place, adapted ones included; returns how many there were.

    Call it before the first forward pass: in evaluation mode bitsandbytes then repacks the weights for its own kernels.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    found = [
        (parent, name) for parent in model.modules() for name, child in parent.named_children() if isinstance(child, Linear4bit)
    ]
    for parent, name in found:
        layer = getattr(parent, name)
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(layer.compute_dtype or torch.float32)
        plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        plain.weight = torch.nn.Parameter(weight, requires_grad=False)
        plain.bias = layer.bias
        setattr(parent, name, plain)
    return len(found)
