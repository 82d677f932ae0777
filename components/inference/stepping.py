"""A decoding step of a small float32 model on a CPU: BLAS for its products, ``kernels`` for all else.

What ``Fused.step`` does in some twenty operations a layer takes seven here, over buffers that are allocated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from components.inference.caches import Slots
from components.inference.kernels import DEPTH, STRIDE, compiled
from components.inference.weights import Pair
from components.settings import Settings

if TYPE_CHECKING:
    from components.inference.fused import Fused


class _Both(NamedTuple):
    """A buffer as torch and as numpy see it."""

    torch: torch.Tensor
    numpy: Any


class _Layer(NamedTuple):
    """A layer's weights as its products take them, and those of its queries' and keys' norms."""

    qkv: Pair
    norms: Any
    out: Pair
    gate_up: Pair
    down: Pair


class _Buffers(NamedTuple):
    """What a step of so many rows is written to, all [rows, size]; ``more`` is what a residual gains."""

    hidden: _Both
    normed: _Both
    more: _Both
    qkv: _Both
    attended: _Both
    gate_up: _Both
    gated: _Both


class Steps:
    """Steps of one model.

    Args:
        fused: its weights, which are read at every step.

    Raises:
        ValueError: if its heads are of a width that the kernels don't divide.
    """

    def __init__(self, fused: Fused) -> None:
        if fused.width % DEPTH:
            raise ValueError(f"heads are {fused.width} wide, no multiple of {DEPTH}")
        self.fused = fused
        self._kernels = compiled(Settings().compiled)
        self._eps = np.float32(fused.eps)
        self._table = fused.embedding.numpy()
        no_norms = np.empty((0, fused.width), np.float32)
        self._layers = [
            _Layer(
                _turned(layer.qkv),
                no_norms if layer.norms is None else layer.norms.numpy(),
                *(_turned(pair) for pair in (layer.out, layer.gate_up, layer.down)),
            )
            for layer in fused.layers
        ]
        self._scores, self._powers = np.empty(0, np.float32), np.empty(0, np.int32)
        first, size = fused.layers[0], fused.embedding.shape[1]
        sizes = (size, size, size, len(first.qkv[0]), fused.heads * fused.width, len(first.gate_up[0]), len(first.gate_up[0]) // 2)
        self._memory = [torch.empty(0, size) for size in sizes]
        self._buffers: dict[int, _Buffers] = {}

    @property
    def token_bytes(self) -> int:
        """Of a token's keys and values in all layers."""
        fused = self.fused
        return int(2 * len(fused.layers) * fused.kv_heads * fused.width * fused.embedding.element_size())

    def slots(self) -> Slots:
        """Empty ones, with the memory that the kernels want."""
        return Slots(len(self.fused.layers), stride=2 * STRIDE)  # and what is unused behind makes an odd number of cache lines

    def step(self, slots: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
        """As ``Fused.step``."""
        fused, kernels, rows = self.fused, self._kernels, len(tokens)
        held = np.array(lengths, dtype=np.int64)
        last = int(held.max())
        if last >= slots.tokens:
            raise IndexError(f"a row's token {last} is put into slots of {slots.tokens}")  # the kernels don't look
        turns = fused.turns(last)
        wide = max(slots.tokens + STRIDE, len(fused.layers[0].gate_up[0]))
        if len(self._scores) < wide:
            self._scores, self._powers = np.empty(wide, np.float32), np.empty(wide, np.int32)
        hidden, normed, more, qkv, attended, gate_up, gated = self._buffers.get(rows) or self._buffers_of(rows)
        kernels.start(np.array(tokens, dtype=np.int64), self._table, self._eps, hidden.numpy, normed.numpy)
        for layer, (keys, values) in zip(self._layers, slots.across(), strict=True):
            _product(normed, layer.qkv, qkv)
            kernels.attend(qkv.numpy, layer.norms, self._eps, turns, held, keys, values, self._scores, self._powers, attended.numpy)
            _product(attended, layer.out, more)
            kernels.add_norm(hidden.numpy, more.numpy, self._eps, normed.numpy)
            _product(normed, layer.gate_up, gate_up)
            kernels.gate(gate_up.numpy, self._powers, gated.numpy)
            _product(gated, layer.down, more)
            kernels.add_norm(hidden.numpy, more.numpy, self._eps, normed.numpy)
        return torch.nn.functional.linear(normed.torch, *fused.head)

    def _buffers_of(self, rows: int) -> _Buffers:
        """The first rows of memory that all steps share."""
        if rows > len(self._memory[0]):
            self._memory = [torch.empty(rows, held.shape[1]) for held in self._memory]
            self._buffers.clear()
        views = [held[:rows] for held in self._memory]
        found = self._buffers[rows] = _Buffers(*(_Both(view, view.numpy()) for view in views))
        return found


def _turned(pair: Pair) -> Pair:
    """With the weight as the right factor of a product: [in, out], a view."""
    weight, bias = pair
    return weight.t(), bias


def _product(left: _Both, right: Pair, out: _Both) -> None:
    weight, bias = right
    if bias is None:
        torch.mm(left.torch, weight, out=out.torch)
    else:
        torch.addmm(bias, left.torch, weight, out=out.torch)
