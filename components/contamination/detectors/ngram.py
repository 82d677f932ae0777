"""Overlap of word n-grams: a training row holds a 13-gram of an item, or most of its 8-grams.

Any 13-gram is GPT-3's rule (arXiv 2005.14165, appendix C), 70 % of the 8-grams in one row PaLM's (arXiv 2204.02311, section 8).
An item shorter than n words has no n-gram: it is compared by the smaller n alone, and below the smallest as a whole under the
rules of ``short``, because a single common run of a short question says little. n-grams that many items of the benchmark share
(instructions, option headers) don't count; an item that has none but such is compared as a whole.

An item with other numbers is another item: templates of word problems share 13-grams ("a train travels … miles in … hours. At the
same rate, how many additional hours would it take …"), so a row without an item's numbers doesn't hold it (``numbers``). Unless
the row breaks off inside the item: one that ends with an item's beginning, or begins with its end, holds a part of just this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from components.config import MethodConfig
from components.contamination import short, wording
from components.contamination.detectors import exact
from components.contamination.index import Runs
from components.contamination.items import Block, Detector, Hit, Item


class Config(MethodConfig):
    """Lengths and limits.

    Attributes:
        long: any run of so many words flags an item.
        short: runs of so many words flag it only if ``share`` of them stand in one row.
        common: n-grams in more items of the benchmark than this are boilerplate and don't count.
        numbers: whether a row needs all numbers of an item. False also flags rows that quote a part of an item.
    """

    method: Literal["ngram"] = "ngram"
    long: int = Field(13, ge=8)
    short: int = Field(8, ge=short.LONG)
    share: float = Field(0.7, gt=0, le=1)
    common: int = Field(10, ge=1)
    numbers: bool = True


def detector(config: Config, items: Sequence[Item]) -> Detector:
    """Finds overlaps; similarity is the share of an item's n-grams that one row holds, for the n with the larger share."""
    sizes = ((config.long, 0.0), (config.short, config.share))
    indexes = [(Runs(items, n, common=config.common), least) for n, least in sizes]
    bare = indexes[1][0].totals == 0
    whole = exact.detector(exact.Config(), [item if lacks else _blank(item) for item, lacks in zip(items, bare, strict=True)])

    wanted = [wording.needed(item.text) for item in items]

    def find(block: Block) -> Iterator[Hit]:
        best: dict[tuple[int, int], Hit] = {}
        for index, least in indexes:
            for hit in _overlaps(index, block, least):
                known = best.get((hit.row, hit.item))
                if known is not None and hit.similarity <= known.similarity:
                    continue
                if not config.numbers or wording.has_numbers(block.texts[hit.row], wanted[hit.item]):
                    best[hit.row, hit.item] = hit
                elif _breaks_off(block.words_of(hit.row), items[hit.item].words, index.n):
                    best[hit.row, hit.item] = replace(hit, how=f"{hit.how}, where the row breaks off")
        yield from best.values()
        for hit in whole(block):
            yield Hit(hit.item, hit.row, 1.0, f"all of its {len(items[hit.item].words)} words", hit.at)

    return find


def _overlaps(index: Runs, block: Block, least: float) -> Iterator[Hit]:
    """Items of which a row holds some run, and at least a share ``least`` of its runs."""
    row, at, item, run = index.hits(block)
    if not len(row):
        return
    _, first = np.unique(np.stack([row, item, run]), axis=1, return_index=True)
    row, at, item = row[first], at[first], item[first]
    pairs, where, counts = np.unique(np.stack([row, item]), axis=1, return_inverse=True, return_counts=True)
    start = np.full(len(counts), np.iinfo(np.int64).max)
    np.minimum.at(start, where.ravel(), at)
    totals = index.totals[pairs[1]]
    for place in np.flatnonzero(counts >= least * totals).tolist():
        held, total = int(counts[place]), int(totals[place])
        how = f"{held} of its {total} {index.n}-grams"
        yield Hit(int(pairs[1, place]), int(pairs[0, place]), held / total, how, int(start[place]))


def _breaks_off(row: Sequence[str], item: Sequence[str], least: int) -> bool:
    """Whether a row ends with the first words of an item or begins with its last, at least so many of them."""
    counts = range(least, min(len(row), len(item) - 1) + 1)
    return any(row[-n:] == item[:n] or row[:n] == item[-n:] for n in counts)


def _blank(item: Item) -> Item:
    return Item(item.benchmark, item.id, "")
