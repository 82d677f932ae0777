"""Text of generated tokens: stop strings found as they appear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Stops:
    """Stop strings of an answer.

    Whether a string has appeared is only looked for where the newest token can be its end; decoding at every step would cost
    more than the model of a small one.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.strings = tuple(strings)
        self._last = {s[-1] for s in strings}
        self._window = max(map(len, strings), default=0) + 8
        self._may_end: dict[int, bool] = {}

    def appeared(self, ids: Sequence[int]) -> bool:
        """Whether the text of these tokens holds a stop string, given that without the last one it held none."""
        if not self.strings or not self._can_end(ids[-1]):
            return False
        if not self._found(ids[-self._window :]):
            return False
        return self._found(ids)  # the tail alone may read differently at its start

    def text(self, ids: Sequence[int]) -> str:
        """The tokens' text without special tokens, cut before the first stop string."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text[: min([len(text), *(found for s in self.strings if (found := text.find(s)) >= 0)])]

    def _found(self, ids: Sequence[int]) -> bool:
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return any(s in text for s in self.strings)

    def _can_end(self, token: int) -> bool:
        if token not in self._may_end:
            text = self.tokenizer.decode([token], skip_special_tokens=False)
            # A blank may belong to the joint of two tokens; a part of a character shows as a replacement character.
            self._may_end[token] = " " in self._last or "\ufffd" in text or any(c in text for c in self._last)
        return self._may_end[token]
