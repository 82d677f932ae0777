"""Runs of n words of all items of a benchmark, and where a block of a corpus holds one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from components.contamination import wording
from components.contamination.items import Block, Item
from components.contamination.wording import Array, Owners


class Runs:
    """Index of items by their runs of ``n`` words.

    Args:
        first_only: take each item's first run only.
        of_length: take only items of exactly so many words; None takes all of at least ``n``.
        common: runs that stand in more items than this are left out: they are the benchmark's boilerplate.

    Attributes:
        totals: for each item, how many different runs of it are indexed.
    """

    def __init__(
        self,
        items: Sequence[Item],
        n: int,
        *,
        first_only: bool = False,
        of_length: int | None = None,
        common: int | None = None,
    ) -> None:
        self.n = n
        words = wording.of([" ".join(item.words) for item in items])
        hashes, first = words.runs(n)
        owner = words.text[first]
        keep = np.ones(len(hashes), bool)
        if of_length is not None:
            keep &= np.diff(words.starts)[owner] == of_length
        if first_only:
            keep &= first == words.starts[owner]
        pairs = np.unique(np.stack([hashes[keep], owner[keep].astype(np.uint64)]), axis=1)
        if common is not None:
            values, counts = np.unique(pairs[0], return_counts=True)
            pairs = pairs[:, np.isin(pairs[0], values[counts <= common])]
        self._items = Owners(pairs[0], pairs[1].astype(np.int64))
        self.totals: Array = np.bincount(self._items.owners, minlength=len(items))

    def places(self, block: Block) -> Iterator[tuple[int, int, int]]:
        """(row, word of the row, item) for every run of an item in a block, by place."""
        for row, at, item, _ in zip(*(column.tolist() for column in self.hits(block)), strict=True):
            yield row, at, item

    def hits(self, block: Block) -> tuple[Array, Array, Array, Array]:
        """(row, word of the row, item, which run) for every run of an item in a block, by place."""
        hashes, first = block.words.runs(self.n)
        position, item, run = self._items.of(hashes)
        word = first[position]
        row = block.words.text[word]
        return row, word - block.words.starts[row], item, run

    def known(self, block: Block) -> Array:
        """Words of a block at which a run of some item begins, ascending."""
        hashes, first = block.words.runs(self.n)
        found: Array = first[self._items.find(hashes)[0]]
        return found
