r"""When a row holds a whole item. Long items: their words in order. Short ones need more, or chance would flag them.

"Simplify $\sqrt{242}$." has three words, and "What is credit?" stands in many texts that have nothing to do with a benchmark.
An item of fewer than ``LONG`` words counts as held by a row only where

- its words stand there in order, with the same signs between them (``2 + 3`` isn't ``2 * 3``), and
- they are a sentence or line of their own: they begin and end where a sentence does; and
- with choices: the row also holds the right answer or half of the choices; without choices, an item of fewer than ``FEW`` words
  is a field of the row, all of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from components.contamination import wording
from components.contamination.items import Block, Item

LONG = 8
FEW = 3
_OPERATORS = re.compile(r"[-+/=<>^%×÷±≤≥≠!,.|&~]")
_SIGNS = str.maketrans("−–—‐‑", "-----")
_BEFORE = re.compile(r"(^|[\n.?!:;])[\s$\\(\[{*_\"'“”‘’#>|-]*$")
_AFTER = re.compile(r"^[\s$\\)\]}*_\"'“”‘’|]*(\n|[.?!:;=]|$)")
_CLOSING = "$*_\\)]}\"'“”’ "
_ENDS = (".", "?", "!", ":", "=")
_LABEL = re.compile(r"(^|\n)\s*[\w ]{0,20}[:.)]\s*$")


def holds(block: Block, row: int, at: int, item: Item) -> bool:
    """Whether a row holds an item as a whole from its word ``at`` on."""
    found, mine = block.words_of(row), item.words
    if found[at : at + len(mine)] != mine:
        return False
    if len(mine) >= LONG:
        return True
    if item.choices:
        return _stands_alone(block.texts[row], at, item) and _has_choices(found, item)
    if len(mine) < FEW:
        return any(wording.words(field) == mine and _signs(field) == _signs(item.text) for field in block.rows[row])
    return _stands_alone(block.texts[row], at, item)


def _stands_alone(text: str, at: int, item: Item) -> bool:
    text, question = _folded(text), _folded(item.text).strip()
    spans, mine = [m.span() for m in wording.WORD.finditer(text)], [m.span() for m in wording.WORD.finditer(question)]
    spans = spans[at : at + len(mine)]
    if _between(text, spans) != _between(question, mine):
        return False
    before, after = text[max(0, spans[0][0] - 80) : spans[0][0]], text[spans[-1][1] : spans[-1][1] + 80]
    head, tail = question[: mine[0][0]], question[mine[-1][1] :]
    before = before.removesuffix(head)
    ended = tail.rstrip(_CLOSING)[-1:] in _ENDS and after.startswith(tail)
    after = after.removeprefix(tail)
    begun = _BEFORE.search(before) or _LABEL.search(before)
    return begun is not None and (ended or _AFTER.search(after) is not None)


def _between(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Signs between the words, gap by gap; a full stop or comma counts only inside a number."""
    found = []
    for (_, end), (start, _) in pairwise(spans):
        gap = text[end:start]
        signs = "".join(_OPERATORS.findall(gap))
        found.append(signs if len(gap) == 1 else signs.replace(".", "").replace(",", ""))
    return found


def _signs(text: str) -> list[str]:
    text = _folded(text)
    return _between(text, [m.span() for m in wording.WORD.finditer(text)])


def _folded(text: str) -> str:
    """Like ``prepared``, but with all its punctuation: it has the same words."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        text = wording.CJK.sub(r" \1 ", text).translate(_SIGNS)
    return text.lower()


def _has_choices(found: list[str], item: Item) -> bool:
    joined = f" {' '.join(found)} "
    answer = wording.words(item.answer)
    if len(answer) >= FEW and f" {' '.join(answer)} " in joined:
        return True
    held = sum(f" {' '.join(words)} " in joined for words in map(wording.words, item.choices) if words)
    return 2 * held >= len(item.choices) > 0
