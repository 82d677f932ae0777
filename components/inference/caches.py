"""Where keys and values of a batch live: behind a prefix that was computed before, or in the slots of a decoder.

Both are transformers ``Cache`` objects whose masks come from ``layout``; a sliding-window layer keeps all its tokens, and the
mask hides the old ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

KeyValue = tuple[torch.Tensor, torch.Tensor]  # of one layer, each [heads, tokens, width]
_UNUSED = 16  # floats behind a multiple of a stride: an odd number of cache lines, since powers of two would share their places


class Prefix:
    """Keys and values of a token sequence from its start, one pair a layer."""

    def __init__(self, layers: list[KeyValue], length: int) -> None:
        self.layers = layers
        self.length = length

    def head(self, length: int) -> Prefix:
        """Of the first tokens; shares their memory."""
        return Prefix([(keys[:, :length], values[:, :length]) for keys, values in self.layers], length)


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """What transformers asks a layer for; sizes are told by the layout, so the answers here only have to be numbers."""

    is_sliding = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.is_initialized = True

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_query_offset(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class _Behind(_Layer):
    def __init__(self, past: KeyValue | None) -> None:
        super().__init__()
        self.past = past

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> KeyValue:
        self.keys, self.values = key_states, value_states
        if self.past is None:
            return key_states, value_states
        return torch.cat([self.past[0], key_states], 2), torch.cat([self.past[1], value_states], 2)


class Behind(Cache):  # type: ignore[misc]
    """New tokens behind each row's prefix, prefixes padded on the left.

    Args:
        prefixes: each row's prefix or None.
        layers: how many the model has.
    """

    def __init__(self, prefixes: Sequence[Prefix | None], layers: int) -> None:
        self.length = max((p.length for p in prefixes if p is not None), default=0)
        super().__init__(layers=[_Behind(_stack(prefixes, i, self.length) if self.length else None) for i in range(layers)])

    def positions(self, prefixes: Sequence[Prefix | None], nowhere: int) -> torch.Tensor:
        """Of the prefixes' tokens, shape [rows, longest prefix]."""
        columns = torch.arange(self.length)
        missing = torch.tensor([self.length - (p.length if p is not None else 0) for p in prefixes]).unsqueeze(-1)
        return torch.where(columns >= missing, columns - missing, nowhere)

    def prefix(self, row: int, old: Prefix | None, tokens: int) -> Prefix:
        """A row's keys and values: those of its old prefix and its first ``tokens`` new ones."""
        layers = []
        for i, layer in enumerate(self.layers):
            new = (layer.keys[row, :, :tokens], layer.values[row, :, :tokens])
            if old is None:
                layers.append((new[0].clone(), new[1].clone()))
            else:
                layers.append((torch.cat([old.layers[i][0], new[0]], 1), torch.cat([old.layers[i][1], new[1]], 1)))
        return Prefix(layers, tokens + (old.length if old is not None else 0))


def _stack(prefixes: Sequence[Prefix | None], layer: int, length: int) -> KeyValue:
    """Prefixes side by side, each [rows, heads, length, width]; one that all rows share isn't copied."""
    first = prefixes[0]
    if first is not None and all(p is first for p in prefixes):
        keys, values = first.layers[layer]
        return keys.expand(len(prefixes), -1, -1, -1), values.expand(len(prefixes), -1, -1, -1)
    some = next(p for p in prefixes if p is not None)
    keys, values = (t.new_zeros(len(prefixes), t.shape[0], length, t.shape[2]) for t in some.layers[layer])
    for row, p in enumerate(prefixes):
        if p is not None:
            keys[row, :, length - p.length :], values[row, :, length - p.length :] = p.layers[layer]
    return keys, values


class _SlotLayer(_Layer):
    def __init__(self) -> None:
        super().__init__()
        self.spare: dict[str, torch.Tensor] = {}
        self.slots: torch.Tensor | None = None
        self.at: torch.Tensor | None = None
        self.span = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> KeyValue:
        rows = len(key_states)
        self.keys[self.slots, :, self.at] = key_states[:, :, 0]
        self.values[self.slots, :, self.at] = value_states[:, :, 0]
        return self.keys[:rows, :, : self.span], self.values[:rows, :, : self.span]

    def reserve(self, rows: int, tokens: int, like: KeyValue, across: bool) -> None:
        """Room for ``rows`` × ``tokens``; what is there stays."""
        for name, part in zip(("keys", "values"), like, strict=True):
            shape = (rows, part.shape[0], part.shape[2], tokens) if across else (rows, part.shape[0], tokens, part.shape[2])
            old, spare = getattr(self, name), self.spare.pop(name, None)
            if spare is None or spare.numel() < math.prod(shape) or spare.dtype != part.dtype:
                spare = part.new_zeros(math.prod(shape))
            new = spare[: math.prod(shape)].view(shape)
            new = new.transpose(2, 3) if across else new
            if old is not None:
                new[: len(old), :, : old.shape[2]] = old[:rows]
            setattr(self, name, new)

    def clear(self, keep: int) -> None:
        """Drops all rows; memory of at most ``keep`` bytes is used again."""
        for name in ("keys", "values"):
            part = getattr(self, name)
            if part is not None:
                self.spare[name] = part.new_empty(0).set_(part.untyped_storage())
                setattr(self, name, None)
        if sum(part.nbytes for part in self.spare.values()) > keep:
            self.spare.clear()


class Slots(Cache):  # type: ignore[misc]
    """Rows of a decoder: row ``i`` holds its sequence from column 0 on, so a row can be replaced without moving the others.

    Args:
        stride: if given, a head's tokens lie side by side in memory, in place of each token's width, and there is room for a
            multiple of so many.
    """

    def __init__(self, layers: int, stride: int | None = None) -> None:
        super().__init__(layers=[_SlotLayer() for _ in range(layers)])
        self.stride = stride
        self._across: list[tuple[Any, Any]] = []
        self.rows = self.tokens = self._rows = self._tokens = 0

    def across(self) -> list[tuple[Any, Any]]:
        """Keys and values of each layer as numpy arrays, [rows, heads, width, tokens], where tokens lie side by side."""
        if not self._across:
            each = ((layer.keys, layer.values) for layer in self.layers)
            self._across = [(keys.transpose(2, 3).numpy(), values.transpose(2, 3).numpy()) for keys, values in each]
        return self._across

    def clear(self, keep: int = 0) -> None:
        """Drops all rows. Memory of up to ``keep`` bytes is used again: the kernel takes long to hand out new memory."""
        self._across = []
        self.rows = self.tokens = self._rows = self._tokens = 0
        for layer in self.layers:
            layer.clear(keep // len(self.layers))

    def expect(self, rows: int, tokens: int) -> None:
        """Says how many rows will run, and how long they may become, so that room is made once."""
        self._rows, self._tokens = max(self._rows, rows), max(self._tokens, tokens)

    def put(self, row: int, prefix: Prefix, room: int) -> None:
        """Starts a row with a sequence that will grow to ``room`` tokens."""
        self.expect(row + 1, room)
        if self._rows > self.rows or self._tokens > self.tokens:
            rows = max(self._rows, 2 * self.rows) if self.rows < self._rows else self.rows
            across = self.stride is not None
            tokens = self._tokens if self.stride is None else -(-self._tokens // self.stride) * self.stride
            for layer, like in zip(self.layers, prefix.layers, strict=True):
                layer.reserve(rows, tokens + _UNUSED if across else tokens, like, across)
            self._across = []
            self.rows, self.tokens = rows, tokens
        for layer, (keys, values) in zip(self.layers, prefix.layers, strict=True):
            layer.keys[row, :, : prefix.length] = keys
            layer.values[row, :, : prefix.length] = values

    def take(self, row: int, length: int) -> Prefix:
        """A copy of a row's first tokens."""
        layers = [(layer.keys[row, :, :length].clone(), layer.values[row, :, :length].clone()) for layer in self.layers]
        return Prefix(layers, length)

    def move(self, source: int, target: int, length: int) -> None:
        """Puts a row into another one's place."""
        for layer in self.layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]

    def at(self, lengths: torch.Tensor, span: int) -> Slots:
        """The same, ready for one more token in each of the first rows; ``lengths`` is how many they hold, shape [rows]."""
        slots = torch.arange(len(lengths), device=lengths.device)
        for layer in self.layers:
            layer.slots, layer.at, layer.span = slots, lengths, span
        return self
