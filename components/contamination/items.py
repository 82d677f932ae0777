"""What a benchmark asks, and where a training row holds it: the records that all methods share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from components.contamination import wording
from components.contamination.wording import Words


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Attributes:
        id: as the benchmark's file or the evaluation names it; unique in the benchmark.
        text: the question, without choices and instructions.
        choices: the options of a multiple-choice question.
        answer: the right answer's text, empty where it isn't known.
    """

    benchmark: str
    id: str
    text: str
    choices: tuple[str, ...] = ()
    answer: str = ""

    @cached_property
    def words(self) -> list[str]:
        """Words of the question."""
        return wording.words(self.text)


@dataclass(frozen=True)
class Hit:
    """An item in a row of a block.

    Attributes:
        item: index of the item.
        row: index of the row in its block.
        similarity: from 0 to 1; what it counts is the method's.
        how: the same in words.
        at: the first word of the row that belongs to it.
    """

    item: int
    row: int
    similarity: float
    how: str
    at: int = 0


@dataclass(frozen=True)
class Block:
    """Some rows of a corpus, each as the texts of its fields."""

    rows: Sequence[Sequence[str]]

    @cached_property
    def texts(self) -> list[str]:
        """Each row as one text: its fields below one another."""
        return ["\n".join(fields) for fields in self.rows]

    @cached_property
    def words(self) -> Words:
        """Hashes of all words."""
        return wording.of([wording.prepared(text) for text in self.texts])

    def words_of(self, row: int) -> list[str]:
        """The words of one row."""
        if row not in self._known:
            self._known[row] = wording.words(self.texts[row])
        return self._known[row]

    @cached_property
    def _known(self) -> dict[int, list[str]]:
        return {}


Detector = Callable[[Block], Iterable[Hit]]


def digest(items: Sequence[Item]) -> str:
    """sha256 over items."""
    lines = (json.dumps(asdict(item), sort_keys=True) for item in items)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


class NotChecked(Exception):
    """A method can't say anything; the message is the reason."""
