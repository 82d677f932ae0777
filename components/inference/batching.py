"""Puts requests of different lengths into batches: sorted by length, bounded by a token budget, smaller where memory is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
ItemT = TypeVar("ItemT")

_SHORT = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")


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


def out_of_memory(error: BaseException) -> bool:
    """Whether a batch failed because memory, the GPU's or the machine's, is too small for it."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SHORT)


def halving(work: Callable[[list[ItemT]], list[T]], batch: list[ItemT]) -> list[T]:
    """Runs a batch; where memory is too small for it, its two halves.

    Raises:
        torch.cuda.OutOfMemoryError, MemoryError, RuntimeError: if a single request doesn't fit.
    """
    try:
        return work(batch)
    except (RuntimeError, MemoryError) as error:
        if len(batch) == 1 or not out_of_memory(error):
            raise
    # Outside the except block, where no traceback holds the failed batch's tensors any more.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    return halving(work, batch[:middle]) + halving(work, batch[middle:])
