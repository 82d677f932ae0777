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


class Steps:
    """Steps of one model.

    Args:
        fused: its weights, read at every step.

    Raises:
        ValueError: if its heads are of a width that the kernels don't divide.
    """

    def __init__(self, fused: Fused) -> None:
        if fused.width % DEPTH:
            raise ValueError(f"heads are {fused.width} wide, no multiple of {DEPTH}")
        self.fused = fused
        self._kernels = compiled(Settings().compiled)
        self._eps = np.float32(fused.eps)
        self._no_norms = np.empty((0, fused.width), np.float32)
        self._scores, self._powers = np.empty(0, np.float32), np.empty(0, np.int32)
        self._buffers: dict[str, torch.Tensor] = {}

    def slots(self) -> Slots:
        """Empty ones, with the memory that the kernels want."""
        return Slots(len(self.fused.layers), stride=STRIDE)

    def step(self, slots: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
        """As ``Fused.step``."""
        fused, kernels, rows = self.fused, self._kernels, len(tokens)
        held = np.array(lengths, dtype=np.int64)
        last = int(held.max())
        if last >= slots.tokens:
            raise IndexError(f"a row's token {last} is put into slots of {slots.tokens}")  # the kernels don't look
        turns = fused.turns(last)
        wide = max(slots.tokens + STRIDE, fused.layers[0].gate_up[0].shape[0])
        if len(self._scores) < wide:
            self._scores, self._powers = np.empty(wide, np.float32), np.empty(wide, np.int32)
        size = fused.embedding.shape[1]
        hidden, normed, more = (self._buffer(name, rows, size) for name in ("hidden", "normed", "more"))
        attended = self._buffer("attended", rows, fused.heads * fused.width)
        kernels.start(np.array(tokens, dtype=np.int64), fused.embedding.numpy(), self._eps, hidden.numpy, normed.numpy)
        for layer, kept in zip(fused.layers, slots.layers, strict=True):
            qkv = self._buffer("qkv", rows, len(layer.qkv[0]))
            _product(normed, layer.qkv, qkv)
            norms = self._no_norms if layer.norms is None else layer.norms.numpy()
            keys, values = (part.transpose(2, 3).numpy() for part in (kept.keys, kept.values))
            kernels.attend(qkv.numpy, norms, self._eps, turns, held, keys, values, self._scores, self._powers, attended.numpy)
            _product(attended, layer.out, more)
            kernels.add_norm(hidden.numpy, more.numpy, self._eps, normed.numpy)
            gate_up = self._buffer("gate_up", rows, len(layer.gate_up[0]))
            _product(normed, layer.gate_up, gate_up)
            gated = self._buffer("gated", rows, gate_up.torch.shape[1] // 2)
            kernels.gate(gate_up.numpy, self._powers, gated.numpy)
            _product(gated, layer.down, more)
            kernels.add_norm(hidden.numpy, more.numpy, self._eps, normed.numpy)
        return torch.nn.functional.linear(normed.torch, *fused.head)

    def _buffer(self, name: str, rows: int, size: int) -> _Both:
        """Memory for [rows, size], the same at every step."""
        held = self._buffers.get(name)
        if held is None or len(held) < rows or held.shape[1] != size:
            held = self._buffers[name] = torch.empty(rows, size)
        return _Both(held[:rows], held[:rows].numpy())


def _product(left: _Both, right: Pair, out: _Both) -> None:
    weight, bias = right
    if bias is None:
        torch.mm(left.torch, weight.t(), out=out.torch)
    else:
        torch.addmm(bias, left.torch, weight.t(), out=out.torch)
