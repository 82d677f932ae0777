"""Keys and values of earlier prompts and answers, so that what begins with one of them needn't compute it again.

Each is found by hashes of its blocks, every one with all before it, as vLLM's prefix cache does (arXiv 2309.06180, section
4.3): how long a search takes depends on the prompt's length, not on how many are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from components.inference.caches import Prefix
from components.inference.prefixes import PREFIX_TOKENS, Row, Shared, common

BLOCK = 8  # tokens of each block but the first, which has as many as are worth keeping
_COMPARED = 8  # the latest prefixes that share a block; an older one could share at most BLOCK - 1 tokens more


@dataclass(frozen=True)
class _Held:
    ids: np.ndarray
    prefix: Prefix
    blocks: list[int]


class Known:
    """Prefixes of earlier prompts, most recently used last.

    Args:
        tokens: how many they hold together at most; the newest stays whatever its length.

    Attributes:
        held: how many they hold.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.held = 0
        self._numbers = count()
        self._prefixes: OrderedDict[int, _Held] = OrderedDict()
        self._sharing: dict[int, dict[int, None]] = {}
        self._ending: dict[int, dict[int, None]] = {}

    def add(self, ids: Sequence[int], prefix: Prefix) -> None:
        """Keeps a prefix in place of what it continues, and lets go of the longest unused ones where there is no room.

        One that is too short to be of use isn't kept, nor one that an earlier one begins with.
        """
        array = np.asarray(ids, dtype=np.int64)
        blocks = list(_blocks(array))
        if not blocks or self._longest(array, len(array), len(array)) is not None:
            return
        for shorter in [number for block in blocks for number in self._ending.get(block, ())]:
            other = self._prefixes[shorter].ids
            if common(other, array) == len(other):
                self._drop(shorter)
        number = next(self._numbers)
        self._prefixes[number] = _Held(array, prefix, blocks)
        self.held += len(array)
        for block in blocks:
            self._sharing.setdefault(block, {})[number] = None
        self._ending.setdefault(blocks[-1], {})[number] = None
        while len(self._prefixes) > 1 and self.held > self.tokens:
            self._drop(next(iter(self._prefixes)))

    def _drop(self, number: int) -> None:
        gone = self._prefixes.pop(number)
        self.held -= len(gone.ids)
        for index, block in [*((self._sharing, block) for block in gone.blocks), (self._ending, gone.blocks[-1])]:
            del index[block][number]
            if not index[block]:
                del index[block]

    def covers(self, ids: Sequence[int]) -> int:
        """How many tokens a prompt needn't compute."""
        found = self._longest(ids, len(ids) - 1)
        return found.length if found is not None else 0

    def shorten(self, shared: Shared, before: Prefix | None) -> tuple[Shared, Prefix | None]:
        """What is left to compute of a prefix, and behind what."""
        found = self._longest(shared.ids, len(shared.ids) - 1)
        if found is None or found.length <= shared.start:
            return shared, before
        return Shared(found.length, shared.ids, shared.rows, shared.behind), found

    def behind(self, row: Row, before: Prefix | None) -> tuple[Row, Prefix | None]:
        """The same for a prompt's row; only for those that share nothing with the other prompts."""
        found = self._longest(row.runs[0], len(row) - 1) if before is None else None
        if found is None:
            return row, before
        return Row(found.length, [row.runs[0][found.length :]], [-1], [found.length], row.owners), found

    def _longest(self, ids: Sequence[int] | np.ndarray, most: int, least: int = PREFIX_TOKENS) -> Prefix | None:
        wanted = np.asarray(ids[: max(most, 0)], dtype=np.int64)
        sharing: dict[int, None] = {}
        for block in _blocks(wanted):
            if block not in self._sharing:
                break
            sharing = self._sharing[block]
        lengths = {number: common(self._prefixes[number].ids, wanted) for number in islice(reversed(sharing), _COMPARED)}
        best = max(lengths, key=lengths.__getitem__, default=None)
        if best is None or lengths[best] < least:
            return None
        self._prefixes.move_to_end(best)
        return self._prefixes[best].prefix.head(lengths[best])


def _blocks(ids: np.ndarray) -> Iterator[int]:
    """A hash of each whole block and all before it; none for what is too short to be worth keeping."""
    tokens = ids.tolist()
    if len(tokens) < PREFIX_TOKENS:
        return
    value = hash(tuple(tokens[:PREFIX_TOKENS]))
    yield value
    for begin in range(PREFIX_TOKENS, len(tokens) - BLOCK + 1, BLOCK):
        value = hash((value, *tokens[begin : begin + BLOCK]))
        yield value
