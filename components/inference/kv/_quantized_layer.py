"""A cache layer of transformers that holds its keys and values in few bits."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from components.inference.kv.quantized import Config, bits, decode, encode

Coded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class QuantizedLayer(DynamicLayer):  # type: ignore[misc]
    """Whole groups of tokens are coded once and never again; ``keys`` and ``values`` hold the tokens that wait for theirs.

    What a forward pass is handed is exact for its own tokens and for those that wait, dequantized for the others.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.coded: list[tuple[Coded, Coded]] = []
        self.width: int | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends tokens; returns all keys and values, [batch, kv_heads, cached, head_dim]."""
        if not self.is_initialized:
            self.width = bits(self.config, key_states.shape[-1], value_states.shape[-1], key_states.element_size())
            self.value_dim = value_states.shape[-1]
            states = key_states.shape[1] * (key_states.shape[-1] + value_states.shape[-1])
            self.token_nbytes = states * key_states.element_size()
        before = self._decoded()
        keys, values = super().update(key_states, value_states)
        result = (torch.cat([before[0], keys], 2), torch.cat([before[1], values], 2)) if before else (keys, values)
        self._encode()
        return result

    def get_seq_length(self) -> int:
        """Tokens in the cache."""
        return len(self.coded) * self.config.group + int(super().get_seq_length())

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, offsets and of what waits in full precision."""
        held = [part for pair in self.coded for coded in pair for part in coded] + [self.keys, self.values]
        return sum(part.numel() * part.element_size() for part in held)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps rows of the batch."""
        super().batch_select_indices(indices)
        self.coded = [(_rows(keys, indices), _rows(values, indices)) for keys, values in self.coded]

    def _encode(self) -> None:
        group = self.config.group
        while self.width is not None and self.keys.shape[2] >= group:
            keys, values = self.keys[:, :, :group], self.values[:, :, :group]
            self.coded.append((encode(keys, self.width, 2), encode(values, self.width, 3)))
            # Copies: a view would hold the memory of what was coded.
            self.keys, self.values = self.keys[:, :, group:].clone(), self.values[:, :, group:].clone()

    def _decoded(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        if not self.coded or self.width is None:
            return None
        keys = [decode(keys, self.width, 2, self.config.group) for keys, _ in self.coded]
        values = [decode(values, self.width, 3, self.value_dim) for _, values in self.coded]
        return torch.cat(keys, 2).to(self.dtype), torch.cat(values, 2).to(self.dtype)


def _rows(coded: Coded, indices: torch.Tensor) -> Coded:
    packed, scale, offset = (part[indices] for part in coded)
    return packed, scale, offset
