"""Encodes a context with many continuations: the context once, and behind it only the end that a continuation can change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_TAIL = 64  # characters of the context that are encoded again with each continuation


class PairEncoder:
    """Token ids of contexts with continuations behind them, those of encoding the whole text.

    Byte-pair merges only join: where the whole text's tokens have a boundary, nothing was ever merged across it, and both
    sides were encoded as if alone. So if the end of the context, encoded by itself, gives the context's own last tokens, and
    still gives at least the first of these with the continuation behind it, everything before them is the context's. Where
    that isn't so, and with tokenizers of other kinds, the whole text is encoded.

    Args:
        special: whether special tokens are added at the start.
    """

    def __init__(self, tokenizer: Any, special: bool) -> None:
        self.tokenizer = tokenizer
        self.special = special
        self._merges = _is_bpe(tokenizer) and not (special and _ends_specially(tokenizer))

    def contexts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts that stand alone."""
        return self._encode(texts, self.special)

    def wholes(
        self, contexts: Sequence[str], ids: Sequence[list[int]], continuations: Sequence[Sequence[str]]
    ) -> list[list[list[int]]]:
        """Token ids of each context with each of its continuations.

        Args:
            ids: those of the contexts.
        """
        tails = [text[_cut(text) :] if self._merges else "" for text in contexts]
        ends = self._encode(tails, False) if self._merges else [[] for _ in tails]
        behind = iter(
            self._encode([t + c for t, mine in zip(tails, continuations, strict=True) for c in mine], False) if self._merges else ()
        )
        found: list[list[list[int]]] = []
        late: list[tuple[int, int]] = []
        for i, (start, end, mine) in enumerate(zip(ids, ends, continuations, strict=True)):
            same = _same_end(start, end)
            keep, known = len(start) - same, len(end) - same
            found.append([])
            for j in range(len(mine)):
                whole = next(behind) if self._merges else []
                if same >= 2 and len(whole) > known and whole[: known + 1] == end[: known + 1]:
                    found[i].append([*start[:keep], *whole[known:]])
                else:
                    found[i].append([])
                    late.append((i, j))
        for (i, j), whole in zip(
            late, self._encode([contexts[i] + continuations[i][j] for i, j in late], self.special), strict=True
        ):
            found[i][j] = whole
        return found

    def _encode(self, texts: Sequence[str], special: bool) -> list[list[int]]:
        if not texts:
            return []
        # Lengths are checked by the engine; here a warning would come for each text.
        encoded: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
        return encoded


def _cut(text: str) -> int:
    """Where the end of a text begins: at a blank or line break, so that words stay whole."""
    at = max(0, len(text) - _TAIL)
    places = [place for blank in (" ", "\n") if (place := text.rfind(blank, 0, at + 1)) >= 0]
    return max(places, default=0)


def _same_end(a: list[int], b: list[int]) -> int:
    same = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        same += 1
    return same


def _is_bpe(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return type(getattr(backend, "model", None)).__name__ == "BPE"


def _ends_specially(tokenizer: Any) -> bool:
    """Whether special tokens stand behind a text too."""
    plain, special = tokenizer.encode("a", add_special_tokens=False), tokenizer.encode("a", add_special_tokens=True)
    return bool(special[-len(plain) :] != plain)
