"""Near-duplicates: a part of a training row has nearly the same word 3-grams as an item (MinHash, Broder 1997; LSH).

The parts come from the row itself: stretches in which at least ``threshold`` of the 3-grams are some item's. No part with a
Jaccard similarity of ``threshold`` with an item can be without (|A ∩ B| / |A ∪ B| ≥ t needs |A ∩ B| / |A| ≥ t), so an item that is
buried in a long document is found as well, and next to nothing of an ordinary corpus is ever hashed. ``rensa`` makes the
signatures; the similarity of what LSH proposes is then counted, not estimated.

An item with other numbers is another item: "Tom has 3 apples and buys 4" repeats a template, not a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from components.config import MethodConfig
from components.contamination import wording
from components.contamination.index import Runs
from components.contamination.items import Block, Detector, Hit, Item
from components.contamination.wording import Array, Owners

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
    long = [number for number, item in enumerate(items) if len(item.words) >= max(config.least_words, config.shingle)]
    if not long:
        return lambda block: ()
    index = Runs([items[number] for number in long], config.shingle)
    shingles = [_shingles(items[number].words, config.shingle) for number in long]
    wanted = [wording.needed(items[number].text) for number in long]
    bands = _Bands(config, [items[number] for number in long])
    fewest = int(config.threshold * min(map(len, shingles)))

    def find(block: Block) -> Iterator[Hit]:
        parts = _parts(config, index, block, fewest)
        found: dict[tuple[int, int], Hit] = {}
        for part, candidates in bands.candidates(block, parts):
            row, start, end = parts[part]
            mine = _shingles(block.words_of(row)[start:end], config.shingle)
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
        words = wording.of([" ".join(item.words) for item in items])
        keys = self._keys(words.hashes, words.starts[:-1], words.starts[1:])
        self._items = Owners(keys.ravel(), np.repeat(np.arange(len(items)), config.bands))

    def candidates(self, block: Block, parts: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, list[int]]]:
        """(index of a part, items that agree with it in some band), for the parts with such items."""
        if not parts:
            return
        row, start, end = np.asarray(parts).T
        begin = block.words.starts[row]
        place, item, _ = self._items.of(self._keys(block.words.hashes, begin + start, begin + end).ravel())
        found: dict[int, set[int]] = {}
        for part, number in zip((place // self._config.bands).tolist(), item.tolist(), strict=True):
            found.setdefault(part, set()).add(number)
        yield from ((part, sorted(items)) for part, items in found.items())

    def _keys(self, words: Array, starts: Array, ends: Array) -> Array:
        """Hash of each band of the signature of some stretches of words, [stretches, bands]. Equal bands have equal hashes."""
        import rensa

        runs, shingle = wording.run_hashes(words, self._config.shingle), self._config.shingle
        stretches = [runs[start : end - shingle + 1] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        edges = np.cumsum([0, *map(len, stretches)]).astype(np.uint64)
        made = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            np.concatenate(stretches), edges, self._config.permutations, _SEED
        )
        bands = self._config.bands
        parts = np.asarray(made.to_rows(), np.uint64).reshape(len(stretches), -1)
        width = parts.shape[1] // bands
        parts = parts[:, : bands * width].reshape(len(stretches) * bands, width)
        numbered = np.append(np.tile(np.arange(bands, dtype=np.uint64), len(stretches))[:, None], parts, axis=1)
        return wording.run_hashes(numbered.ravel(), width + 1)[:: width + 1].reshape(len(stretches), bands)
