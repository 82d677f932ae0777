"""Parts of a decoding step that libraries do in many small operations, compiled by numba; all of float32 arrays.

A step has one token a row. Its products are left to the BLAS library; what stands between them is here, each as one pass over
memory. Keys and values lie across, ``[rows, heads, width, tokens]``, so that the inner loops run along tokens, as many as fill the
processor's registers. ``stepping`` puts the parts together, ``compiled`` gives them as machine code.

Importing this module imports numba, so it is imported where a model is about to be computed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit

_LOG2_E = np.float32(1.4426950408889634)
_LEAST = np.float32(-125)  # a power of two below it would be no normal number
_ONE, _HALF, _ZERO = np.float32(1), np.float32(0.5), np.float32(0)
# Of 2**x between -1/2 and 1/2: Taylor's series of exp(x·ln 2), its error below float32's.
_POWERS = [np.float32(math.log(2) ** i / math.factorial(i)) for i in range(8)]
_P1, _P2, _P3, _P4, _P5, _P6, _P7 = _POWERS[1:]
STRIDE = 16  # tokens: loops over them take a multiple, which leaves no rest to be done one by one
_HIDDEN = np.float32(-1e30)
DEPTH = 4  # of a head's width, summed in one pass over the keys


class Kernels(NamedTuple):
    """The compiled functions; see those of the same names."""

    start: Callable[..., None]
    attend: Callable[..., None]
    add_norm: Callable[..., None]
    gate: Callable[..., None]


def start(tokens: Any, table: Any, eps: Any, hidden: Any, normed: Any) -> None:
    """Looks the tokens' vectors up: ``hidden`` as they are, ``normed`` over their root mean square, both [rows, size]."""
    rows, size = hidden.shape
    for row in range(rows):
        total = _ZERO
        for i in range(size):
            value = table[tokens[row], i]
            hidden[row, i] = value
            total += value * value
        scale = _ONE / np.sqrt(total / np.float32(size) + eps)
        for i in range(size):
            normed[row, i] = hidden[row, i] * scale


def add_norm(hidden: Any, more: Any, eps: Any, normed: Any) -> None:
    """Adds ``more`` to ``hidden`` in place; ``normed`` is the sum over its root mean square. All [rows, size]."""
    rows, size = hidden.shape
    for row in range(rows):
        total = _ZERO
        for i in range(size):
            value = hidden[row, i] + more[row, i]
            hidden[row, i] = value
            total += value * value
        scale = _ONE / np.sqrt(total / np.float32(size) + eps)
        for i in range(size):
            normed[row, i] = hidden[row, i] * scale


def gate(gate_up: Any, powers: Any, out: Any) -> None:
    """silu(gate) · up into ``out`` [rows, size], from ``gate_up`` [rows, 2 · size].

    Args:
        powers: room for ``size`` int32.
    """
    rows, size = out.shape
    scales = powers.view(np.float32)
    for row in range(rows):
        for i in range(size):
            # exp(-gate), as 2**whole · 2**rest
            x = min(max(-gate_up[row, i] * _LOG2_E, _LEAST), -_LEAST)
            whole = np.int32(x + (_HALF if x > _ZERO else -_HALF))
            r = x - np.float32(whole)
            powers[i] = (whole + 127) << 23
            out[row, i] = _ONE + r * (_P1 + r * (_P2 + r * (_P3 + r * (_P4 + r * (_P5 + r * (_P6 + r * _P7))))))
        for i in range(size):
            out[row, i] = gate_up[row, i] * gate_up[row, size + i] / (_ONE + out[row, i] * scales[i])


def attend(
    qkv: Any, norms: Any, eps: Any, turns: Any, lengths: Any, keys: Any, values: Any, scores: Any, powers: Any, out: Any
) -> None:
    """Turns queries and keys, puts keys and values into the rows' slots, and attends to all that a row holds then.

    Args:
        qkv: [rows, (heads + 2 · kv heads) · width]; queries and keys with their pairs side by side; overwritten.
        norms: weights of the heads' and kv heads' norms, [heads + kv heads, width], or none, [0, width].
        turns: cosine and sine of each position's angles, [positions, width / 2, 2].
        lengths: how many tokens the rows hold, [rows] int64; the new one's position.
        keys, values: the slots, [rows or more, kv heads, width, tokens].
        scores: room for a float32 a token, ``powers`` for an int32.
        out: [rows, heads · width].
    """
    rows, wide = out.shape
    kv_heads, width = keys.shape[1], keys.shape[2]
    heads = wide // width
    group = heads // kv_heads
    scales = powers.view(np.float32)
    peaks = np.empty(STRIDE, np.float32)
    for row in range(rows):
        held = lengths[row]
        for head in range(heads + kv_heads):
            at = head * width
            if len(norms):
                total = _ZERO
                for i in range(width):
                    total += qkv[row, at + i] * qkv[row, at + i]
                scale = _ONE / np.sqrt(total / np.float32(width) + eps)
                for i in range(width):
                    qkv[row, at + i] *= scale * norms[head, i]
            for i in range(width // 2):
                cos, sin = turns[held, i, 0], turns[held, i, 1]
                a, b = qkv[row, at + 2 * i], qkv[row, at + 2 * i + 1]
                qkv[row, at + 2 * i] = a * cos - b * sin
                qkv[row, at + 2 * i + 1] = a * sin + b * cos
        for head in range(kv_heads):
            for i in range(width):
                keys[row, head, i, held] = qkv[row, (heads + head) * width + i]
                values[row, head, i, held] = qkv[row, (heads + kv_heads + head) * width + i]
        seen = (held // STRIDE + 1) * STRIDE
        for head in range(heads):
            at = head * width
            key, value = keys[row, head // group], values[row, head // group]
            for t in range(seen):
                scores[t] = _ZERO
            for i in range(0, width, DEPTH):
                q0, q1, q2, q3 = qkv[row, at + i], qkv[row, at + i + 1], qkv[row, at + i + 2], qkv[row, at + i + 3]
                k0, k1, k2, k3 = key[i], key[i + 1], key[i + 2], key[i + 3]
                for t in range(seen):
                    scores[t] += (q0 * k0[t] + q1 * k1[t]) + (q2 * k2[t] + q3 * k3[t])
            for t in range(held + 1, seen):
                scores[t] = _HIDDEN
            for t in range(STRIDE):
                peaks[t] = scores[t]
            for begin in range(STRIDE, seen, STRIDE):
                for t in range(STRIDE):
                    peaks[t] = max(peaks[t], scores[begin + t])
            most = peaks[0]
            for t in range(STRIDE):
                most = max(most, peaks[t])
            for t in range(seen):
                # exp(score - most), as 2**whole · 2**rest
                x = max((scores[t] - most) * _LOG2_E, _LEAST)
                whole = np.int32(x - _HALF)
                r = x - np.float32(whole)
                powers[t] = (whole + 127) << 23
                scores[t] = _ONE + r * (_P1 + r * (_P2 + r * (_P3 + r * (_P4 + r * (_P5 + r * (_P6 + r * _P7))))))
            total = _ZERO
            for t in range(seen):
                scores[t] *= scales[t]
                total += scores[t]
            share = _ONE / total
            for i in range(0, width, DEPTH):
                v0, v1, v2, v3 = value[i], value[i + 1], value[i + 2], value[i + 3]
                o0, o1, o2, o3 = _ZERO, _ZERO, _ZERO, _ZERO
                for t in range(seen):
                    weight = scores[t]
                    o0 += weight * v0[t]
                    o1 += weight * v1[t]
                    o2 += weight * v2[t]
                    o3 += weight * v3[t]
                out[row, at + i], out[row, at + i + 1] = o0 * share, o1 * share
                out[row, at + i + 2], out[row, at + i + 3] = o2 * share, o3 * share


_SIGNATURES = {
    start: "void(int64[::1], float32[:, ::1], float32, float32[:, ::1], float32[:, ::1])",
    attend: "void(float32[:, ::1], float32[:, ::1], float32, float32[:, :, ::1], int64[::1], float32[:, :, :, ::1], "
    "float32[:, :, :, ::1], float32[::1], int32[::1], float32[:, ::1])",
    add_norm: "void(float32[:, ::1], float32[:, ::1], float32, float32[:, ::1])",
    gate: "void(float32[:, ::1], int32[::1], float32[:, ::1])",
}


@cache
def compiled(folder: Path) -> Kernels:
    """The kernels as machine code of this processor: loaded from ``folder``, else compiled and kept there.

    Where the folder can't be written they are compiled by every process.
    """
    before, config.CACHE_DIR = config.CACHE_DIR, config.CACHE_DIR or str(folder)
    try:
        keeps = _writable(Path(config.CACHE_DIR))
        # Sums may be taken in any order, which is what lets them use whole registers; no kernel meets inf or nan on purpose.
        jit = {"cache": keeps, "nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
        return Kernels(**{kernel.__name__: njit(signature, **jit)(kernel) for kernel, signature in _SIGNATURES.items()})
    finally:
        config.CACHE_DIR = before


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
