"""Text of an answer while it grows: whole characters, nothing behind a stop string, in sum the finished answer's text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from components.inference.server.messages import Token

_LOWEST = -9999.0  # stands for minus infinity, which JSON hasn't; OpenAI writes it so
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Growing:
    """Turns tokens into text piece by piece.

    Only the tokens since the last whole character are decoded again: decoding the whole answer for every token would take
    longer than computing it, for a small model.

    Args:
        special: keep special tokens: the marks of tool calls are such in many vocabularies.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], special: bool = False) -> None:
        self._tokenizer, self._special = tokenizer, special
        self._stops = tuple(stops)
        self._ids: list[int] = []
        self._begin, self._read, self._before = 0, 0, ""
        self._held = ""
        self.sent = ""

    def add(self, token: int) -> str:
        """The text that is certain now."""
        self._ids.append(token)
        text = self._decode(self._ids[self._begin :])
        if len(text) <= len(self._before) or text.endswith("\ufffd"):
            return ""
        self._held += text[len(self._before) :]
        self._begin, self._read = self._read, len(self._ids)
        self._before = self._decode(self._ids[self._begin : self._read])
        return self._release()

    def finish(self, text: str) -> str:
        """What is left of the finished answer's text."""
        rest = text[len(self.sent) :] if text.startswith(self.sent) else ""
        self.sent += rest
        return rest

    def _release(self) -> str:
        """Keeps back an end that may be the beginning of a stop string."""
        keep = 0
        for stop in self._stops:
            if (at := self._held.find(stop)) >= 0:
                keep = max(keep, len(self._held) - at)
                continue
            keep = max([keep, *(n for n in range(1, min(len(stop), len(self._held) + 1)) if self._held.endswith(stop[:n]))])
        out, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        self.sent += out
        return out

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=not self._special)
        return text


class Vocabulary:
    """Tokens as OpenAI's log-probabilities show them: text and bytes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, tuple[str, list[int]]] = {}
        self._bytes = _byte_level()

    def token(self, token: int, logprob: float, alternatives: Sequence[tuple[int, float]]) -> Token:
        """A token with its alternatives."""
        top = [(*self.look(other), max(value, _LOWEST)) for other, value in alternatives]
        return Token(*self.look(token), max(logprob, _LOWEST), top)

    def look(self, token: int) -> tuple[str, list[int]]:
        """(text, bytes) of a token."""
        if token not in self._known:
            self._known[token] = self._read(token)
        return self._known[token]

    def _read(self, token: int) -> tuple[str, list[int]]:
        text: str = self._tokenizer.decode([token], skip_special_tokens=False)
        piece = self._tokenizer.convert_ids_to_tokens(token) or ""
        if match := _BYTE.fullmatch(piece):
            data = bytes([int(match[1], 16)])
            return data.decode("utf-8", "replace"), list(data)
        if "\ufffd" in text and all(c in self._bytes for c in piece):
            return text, [self._bytes[c] for c in piece]
        if piece.startswith("\u2581") and not text.startswith(" "):
            text = f" {text}"  # a decoder takes the blank off where a text begins
        return text, list(text.encode())


def _byte_level() -> dict[str, int]:
    """Characters that stand for bytes in byte-level vocabularies, as GPT-2 chose them."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}
