"""Text of generated tokens: stop strings found as they appear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_PART = "\ufffd"  # what a part of a character is decoded to


class Stops:
    """Stop strings of an answer.

    Whether a string has appeared is only looked for where the newest token can be its end, told from the characters of single
    tokens; decoding at every step would cost more than the model of a small one. Blanks are left out of that: one may belong
    to the joint of two tokens. So where a string ends with blanks, what counts is the character before them, in the newest token
    or the last one before it that has any.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.strings = tuple(strings)
        ends = [(s.rstrip(" ")[-1:], s[-1] == " ") for s in self.strings]
        self._blank = any(not end for end, _ in ends)  # such a string may end anywhere
        self._last = {_PART, *(end for end, blanks in ends if not blanks)}
        self._before = {_PART, *(end for end, blanks in ends if blanks)} if any(blanks for _, blanks in ends) else set()
        self._window = max(map(len, strings), default=0) + 8
        self._characters: dict[int, frozenset[str]] = {}

    def appeared(self, ids: Sequence[int]) -> bool:
        """Whether the text of these tokens holds a stop string, given that without the last one it held none."""
        if not self.strings or not self._can_end(ids):
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

    def _can_end(self, ids: Sequence[int]) -> bool:
        if self._blank or not self._last.isdisjoint(self._own(ids[-1])):
            return True
        if self._before:
            for place, token in enumerate(reversed(ids)):
                own = self._own(token)
                if not self._before.isdisjoint(own):
                    return True
                if place and own:
                    break
        return False

    def _own(self, token: int) -> frozenset[str]:
        """The characters of a token's own text, without blanks."""
        own = self._characters.get(token)
        if own is None:
            text: str = self.tokenizer.decode([token], skip_special_tokens=True)
            own = self._characters[token] = frozenset(text) - {" "}
        return own
