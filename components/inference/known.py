"""Keys and values of earlier prompts and answers, so that what begins with one of them needn't compute it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from components.inference.caches import Prefix
from components.inference.prefixes import PREFIX_TOKENS, Row, Shared, common


class Known:
    """Prefixes of earlier prompts, most recently used last.

    Args:
        tokens: how many they hold together at most; the newest stays whatever its length.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._arrays: dict[tuple[int, ...], np.ndarray] = {}

    def add(self, ids: Sequence[int], prefix: Prefix) -> None:
        """Keeps a prefix in place of what it continues, and lets go of the longest unused ones where there is no room."""
        key, array = tuple(ids), np.asarray(ids, dtype=np.int64)
        for shorter in [k for k, a in self._arrays.items() if len(a) < len(array) and common(a, array) == len(a)]:
            self._drop(shorter)
        self._prefixes[key], self._arrays[key] = prefix, array
        self._prefixes.move_to_end(key)
        while len(self._prefixes) > 1 and sum(map(len, self._prefixes)) > self.tokens:
            self._drop(next(iter(self._prefixes)))

    def _drop(self, key: tuple[int, ...]) -> None:
        del self._prefixes[key], self._arrays[key]

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

    def _longest(self, ids: Sequence[int], most: int) -> Prefix | None:
        best, length, wanted = None, PREFIX_TOKENS - 1, np.asarray(ids[: max(most, 0)], dtype=np.int64)
        for known, array in self._arrays.items():
            if (found := common(array, wanted)) > length:
                best, length = known, found
        if best is None:
            return None
        self._prefixes.move_to_end(best)
        return self._prefixes[best].head(length)
