"""Bit-widths of a model's layers: weights rounded to nearest, group by group, and packed in the format that vLLM loads.

Symmetric integers with one scale for each ``GROUP`` weights of a row, by compressed-tensors: what is measured with ``rounded``
is what ``pack`` stores, weight by weight, and what a stored model computes with. 16 bits mean: left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from components.errors import InputError

Width = Literal[2, 3, 4, 8, 16]
FULL = 16
HEADS = ("lm_head", "embed_out")
"""Modules that make the logits, by the names that architectures give them: never adapted, never quantized."""
GROUP = 64
BLOCKS_4BIT = (64, 32)
"""Multiples that the input and output width of a layer have to be of, for bitsandbytes' 4-bit kernels to pack it."""
_SHAPE_BYTES = 16
"""Each packed weight carries its shape as two 64-bit integers."""


def layers(model: Any) -> list[dict[str, Any]]:
    """Linear modules of each decoder layer by their full names; embeddings and output layer are in none of them.

    Raises:
        InputError: if the model has no decoder layers with linear modules.
    """
    import torch

    found: dict[int, dict[str, Any]] = {}
    for name, module in model.named_modules():
        match = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
        if match is not None and isinstance(module, torch.nn.Linear):
            found.setdefault(int(match[1]), {})[name] = module
    if not found:
        raise InputError(
            f"{type(model).__name__} has no decoder layers with linear modules, so there is nothing to choose bits for"
        )
    return [found[i] for i in sorted(found)]


def packs_4bit(module: Any) -> bool:
    """Whether bitsandbytes' 4-bit kernels can pack a linear module."""
    return not (module.in_features % BLOCKS_4BIT[0] or module.out_features % BLOCKS_4BIT[1])


def nf4(weight: Any) -> tuple[Any, Any]:
    """(packed weights, their state) as the quantize stage's method ``nf4`` stores them."""
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(weight.data, quant_type="nf4", compress_statistics=True)
    return packed, state


def with_weight(module: Any, weight: Any) -> Any:
    """A plain linear module like this one, bias and all, with another weight that isn't trained."""
    import torch

    plain = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None, device="meta")
    plain.weight = torch.nn.Parameter(weight, requires_grad=False)
    plain.bias = module.bias
    return plain


def rounded(weight: Any, bits: int) -> Any:
    """A weight matrix as ``bits`` bits hold it, in its own type and shape [out, in]."""
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize

    if bits == FULL:
        return weight.detach().clone()
    scale = _scale(weight, bits)
    return fake_quantize(weight.detach(), scale, scale.new_zeros(scale.shape), _arguments(bits, weight.shape[1]))


def stored_bytes(weight: Any, bits: int) -> int:
    """Bytes of a weight matrix in a stored model: packed integers, scales, shape."""
    out, width = weight.shape
    if bits == FULL:
        return int(weight.numel() * weight.element_size())
    groups = width // _group(width)
    return int(out * (-(-width * bits // 32) * 4 + groups * weight.element_size()) + _SHAPE_BYTES)


def pack(model: Any, bits: Sequence[int], target: Path) -> None:
    """Quantizes each layer of a model to its bits and writes the model folder; the model can't be used any more.

    Args:
        bits: a ``Width`` for each decoder layer.

    Raises:
        InputError: if there are more or fewer of them than layers, or all are 16.
    """
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme, apply_quantization_config

    found = layers(model)
    if len(bits) != len(found):
        raise InputError(f"bits={list(bits)} names {len(bits)} layers, the model has {len(found)}")
    modules = {name: (module, width) for each, width in zip(found, bits, strict=True) for name, module in each.items()}
    kinds = sorted({(width, _group(module.in_features)) for module, width in modules.values() if width != FULL})
    if not kinds:
        raise InputError("all layers are left at 16 bits, so there is nothing to quantize; take out 'quantize:'")
    groups = {
        f"int{width}_{size}": QuantizationScheme(
            targets=[name for name, (m, w) in modules.items() if (w, _group(m.in_features)) == (width, size)],
            weights=_arguments(width, size),
            format="pack-quantized",
        )
        for width, size in kinds
    }
    ignore = [*HEADS, *(name for name, (_, width) in modules.items() if width == FULL)]
    apply_quantization_config(model, QuantizationConfig(config_groups=groups, ignore=ignore, format="pack-quantized"))
    for module, width in modules.values():
        if width != FULL:
            module.weight_scale.data = _scale(module.weight, width)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format="pack-quantized")
    compressor.compress_model(model)
    model.save_pretrained(str(target))
    compressor.update_config(str(target))


def is_packed(model: Any) -> bool:
    """Whether a loaded model's weights are integers as ``pack`` stores them, with activations as they are."""
    config = getattr(getattr(getattr(model, "hf_quantizer", None), "quantization_config", None), "quantization_config", None)
    groups = getattr(config, "config_groups", None) or {}
    return bool(groups) and all(group.input_activations is None for group in groups.values())


def rounds_activations(model: Any) -> bool:
    """Whether a loaded model computes with rounded activations (W8A8, FP8).

    Such a model amplifies the last bit of a sum: an activation near the border of two steps falls to the other, and logits jump.
    """
    return any(scheme.input_activations is not None for _, scheme in _schemes(model))


@contextmanager
def activations_left(model: Any) -> Iterator[None]:
    """Computes without rounding activations meanwhile, where each token's are rounded by themselves.

    What is left is a function without jumps, so that two ways of computing it can be compared closely. Rounded by a scale that
    all tokens of a batch share, they would make a token's result depend on its neighbours: those stay as they are.
    """
    own = [module for module, scheme in _schemes(model) if scheme.input_activations is not None and not _shared(scheme)]
    before = [getattr(module, "quantization_enabled", True) for module in own]
    for module in own:
        module.quantization_enabled = False
    try:
        yield
    finally:
        for module, enabled in zip(own, before, strict=True):
            module.quantization_enabled = enabled


def _schemes(model: Any) -> Iterator[tuple[Any, Any]]:
    for module in model.modules():
        if (scheme := getattr(module, "quantization_scheme", None)) is not None:
            yield module, scheme


def _shared(scheme: Any) -> bool:
    kinds = [some for some in (scheme.input_activations, scheme.output_activations) if some is not None]
    return any(kind.dynamic is True and kind.strategy in ("tensor", "channel") for kind in kinds)


def unpack(model: Any) -> int:
    """Turns packed layers of a loaded model into plain linear ones with the same weights; returns how many there were.

    So a LoRA trains beside exactly the weights that the packed model computes with, and can be merged into them.
    """
    import torch

    model.hf_quantizer.compressor.decompress_model(model=model)
    found = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, torch.nn.Linear) and getattr(child, "quantization_scheme", None) is not None
    ]
    for parent, name in found:
        layer = getattr(parent, name)
        setattr(parent, name, with_weight(layer, layer.weight.data))
    return len(found)


def _scale(weight: Any, bits: int) -> Any:
    """One scale a group, shape [out, groups]: the largest weight is the largest integer."""
    from compressed_tensors.quantization.utils import calculate_qparams

    out, width = weight.shape
    grouped = weight.detach().reshape(out, -1, _group(width))
    return calculate_qparams(grouped.amin(-1), grouped.amax(-1), _arguments(bits, width))[0]


def _arguments(bits: int, width: int) -> Any:
    from compressed_tensors.quantization import QuantizationArgs

    return QuantizationArgs(num_bits=bits, type="int", symmetric=True, strategy="group", group_size=_group(width))


def _group(width: int) -> int:
    """Weights that share a scale: ``GROUP`` of them, or a whole row where that doesn't divide it."""
    return GROUP if width % GROUP == 0 else width
