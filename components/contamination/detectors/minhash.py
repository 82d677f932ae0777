"""Near-duplicates: a part of a training row has nearly the same word 3-grams as an item (MinHash, Broder 1997; LSH).

The parts come from the row itself: stretches in which at least ``threshold`` of the 3-grams are some item's. No part with a
Jaccard similarity of ``threshold`` with an item can be without (|A ∩ B| / |A ∪ B| ≥ t needs |A ∩ B| / |A| ≥ t), so an item that is
buried in a long document is found as well, and next to nothing of an ordinary corpus is ever hashed. ``rensa`` makes the
signatures; the similarity of what LSH proposes is then counted, not estimated.

An item with other numbers is another item: "Tom has 3 apples and buys 4" repeats a template, not a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field

from components.config import MethodConfig
from components.contamination import wording
from components.contamination.index import Runs
from components.contamination.items import Block, Detector, Hit, Item
from components.contamination.wording import Array

_GAP = 6
"""Words without a known shingle that end a part."""
_SEED = 1


class Config(MethodConfig):
    """What counts as nearly the same.

    Attributes:
        shingle: words of a shingle.
        threshold: least Jaccard similarity of the sets of shingles.
        permutations: length of a signature.
        bands: the signature is cut into so many; parts that agree in one are compared.
        least_words: shorter items have too few shingles; ``exact`` and ``ngram`` look after them.
        numbers: whether a row needs all numbers of an item.
    """

    method: Literal["minhash"] = "minhash"
    shingle: int = Field(3, ge=1)
    threshold: float = Field(0.7, gt=0, le=1)
    permutations: int = Field(128, ge=16)
    bands: int = Field(32, ge=1)
    least_words: int = Field(10, ge=4)
    numbers: bool = True


def detector(config: Config, items: Sequence[Item]) -> Detector:
    """Finds near-duplicates; similarity is the Jaccard similarity of the shingles."""
    long = [number for number, item in enumerate(items) if len(item.words) >= config.least_words]
    index = Runs([items[number] for number in long], config.shingle)
    shingles = [_shingles(items[number].words, config.shingle) for number in long]
    wanted = [wording.needed(items[number].text) for number in long]
    bands = _Bands(config, [items[number] for number in long])
    fewest = int(config.threshold * min(map(len, shingles), default=1))

    def find(block: Block) -> Iterator[Hit]:
        parts = [] if not long else _parts(config, index, block, fewest)
        found: dict[tuple[int, int], Hit] = {}
        for (row, start, end), candidates in zip(parts, bands.candidates(block, parts), strict=True):
            words = block.words_of(row)[start:end]
            mine = _shingles(words, config.shingle)
            for number in candidates:
                similarity = len(mine & shingles[number]) / len(mine | shingles[number])
                hit = Hit(long[number], row, similarity, f"Jaccard similarity {similarity:.2f}", start)
                known = found.get((row, hit.item))
                better = known is None or similarity > known.similarity
                if (
                    similarity >= config.threshold
                    and better
                    and (not config.numbers or wording.has_numbers(block.texts[row], wanted[number]))
                ):
                    found[row, hit.item] = hit
        yield from found.values()

    return find


def _shingles(words: Sequence[str], n: int) -> set[str]:
    return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}


def _parts(config: Config, index: Runs, block: Block, fewest: int) -> list[tuple[int, int, int]]:
    """(row, first word, word behind the last) of stretches that may be near some item."""
    words = index.known(block)
    if not len(words):
        return []
    text = block.words.text[words]
    breaks = np.flatnonzero((np.diff(words) > _GAP) | (np.diff(text) != 0)) + 1
    first, last = np.append(0, breaks), np.append(breaks, len(words)) - 1
    hits, span = last - first + 1, words[last] - words[first] + 1
    keep = np.flatnonzero((hits >= max(1, fewest)) & (hits >= config.threshold * span))
    row = text[first[keep]]
    start = words[first[keep]] - block.words.starts[row]
    end = words[last[keep]] + config.shingle - block.words.starts[row]
    return list(zip(row.tolist(), start.tolist(), end.tolist(), strict=True))


class _Bands:
    """LSH over rensa's signatures: items by the parts of their signatures."""

    def __init__(self, config: Config, items: Sequence[Item]) -> None:
        self._config = config
        self._rows = config.permutations // config.bands
        self._tables: list[dict[bytes, list[int]]] = [{} for _ in range(config.bands)]
        words = wording.of([" ".join(item.words) for item in items])
        spans = pairwise(words.starts.tolist())
        for number, bands in enumerate(self._cut([words.hashes[start:end] for start, end in spans])):
            for table, band in zip(self._tables, bands, strict=True):
                table.setdefault(band, []).append(number)

    def candidates(self, block: Block, parts: Sequence[tuple[int, int, int]]) -> Iterator[list[int]]:
        """Items that agree with a part in some band, for each part."""
        starts, hashes = block.words.starts, block.words.hashes
        for bands in self._cut([hashes[starts[row] + start : starts[row] + end] for row, start, end in parts]):
            found = (table.get(band, ()) for table, band in zip(self._tables, bands, strict=True))
            yield sorted(set().union(*found))

    def _cut(self, hashes: Sequence[Array]) -> Iterator[list[bytes]]:
        """The bands of each text's signature, from the hashes of its words."""
        import rensa

        if not hashes:
            return
        sets = [np.unique(wording.run_hashes(found, self._config.shingle)) for found in hashes]
        ends = np.cumsum([0, *map(len, sets)]).astype(np.uint64)
        made = rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(sets), ends, self._config.permutations, _SEED)
        for signature in np.asarray(made.to_rows(), np.uint32):
            yield [signature[band * self._rows : (band + 1) * self._rows].tobytes() for band in range(self._config.bands)]
