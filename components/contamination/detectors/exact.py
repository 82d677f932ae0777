"""Exact and normalised match: a training row holds an item as a whole.

*Exact* is the item's text character by character; *normalised* are its words in order, whatever stands between them
(``wording.prepared``). What short items need beyond that is in ``short``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from components.config import MethodConfig
from components.contamination import short
from components.contamination.index import Runs
from components.contamination.items import Block, Detector, Hit, Item


class Config(MethodConfig):
    """It has no settings: an item is there or it isn't."""

    method: Literal["exact"] = "exact"


def detector(config: Config, items: Sequence[Item]) -> Detector:
    """Finds whole items; similarity is 1. Candidates share an item's first words."""
    lengths = sorted({min(short.LONG, len(item.words)) for item in items} - {0})
    indexes = [Runs(items, n, first_only=True, of_length=n if n < short.LONG else None) for n in lengths]

    def find(block: Block) -> Iterator[Hit]:
        seen = set()
        for index in indexes:
            for row, at, item in index.places(block):
                if (row, item) not in seen and short.holds(block, row, at, items[item]):
                    seen.add((row, item))
                    exact = items[item].text.strip() in block.texts[row]
                    yield Hit(item, row, 1.0, "word for word" if exact else "the same words", at)

    return find
