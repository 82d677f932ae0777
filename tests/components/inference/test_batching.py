"""Batches by token budget, and smaller ones where memory is short."""

from __future__ import annotations

import doctest

import pytest
import torch

from components.inference import batching
from components.inference.batching import by_budget, halving


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(batching).failed == 0


def test_every_request_is_in_one_batch_within_the_budget() -> None:
    lengths = [(7 * i) % 50 + 1 for i in range(100)]
    batches = by_budget(lengths, 120)
    assert sorted(i for batch in batches for i in batch) == list(range(100))
    assert all(len(b) * max(lengths[i] for i in b) <= 120 for b in batches)
    assert len(batches) < 30
    assert by_budget([500], 120) == [[0]]
    assert by_budget([], 120) == []


def test_a_batch_that_is_too_big_for_memory_runs_in_halves() -> None:
    sizes: list[int] = []

    def work(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return [i * 10 for i in batch]

    assert halving(work, [3, 1, 4, 5, 9]) == [30, 10, 40, 50, 90]
    assert max(sizes) == 5

    def never(batch: list[int]) -> list[int]:
        raise torch.cuda.OutOfMemoryError("out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        halving(never, [1, 2])
