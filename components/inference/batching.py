"""Puts requests of different lengths into batches: sorted by length, bounded by a token budget, padded on the left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


def by_budget(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Batches of indices, longest requests first, so that memory runs out at once or never.

    Args:
        lengths: tokens that each request will hold at most.
        budget: rows × longest length of a batch stay within it; a request that is longer alone is a batch of its own.

    >>> by_budget([3, 9, 4, 8], 16)
    [[1], [3, 2], [0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def left_pad(rows: Sequence[Sequence[int]], pad: int, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, attention mask, position ids), each of shape [rows, longest]; the last column is every row's last token."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def halving(work: Callable[[list[int]], list[T]], batch: list[int]) -> list[T]:
    """Runs a batch; where the GPU's memory is too small for it, its two halves.

    Raises:
        torch.cuda.OutOfMemoryError: if a single request doesn't fit.
    """
    try:
        return work(batch)
    except torch.cuda.OutOfMemoryError:
        if len(batch) == 1:
            raise
    # Outside the except block, where no traceback holds the failed batch's tensors any more.
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    return halving(work, batch[:middle]) + halving(work, batch[middle:])
