"""What a judge's output says, read strictly, and what two verdicts on the same pair say together.

The last ``[[A]]``, ``[[B]]`` or ``[[C]]`` of the judge's own output counts, as in MT-Bench (Zheng et al. 2023, arXiv
2306.05685), unless the output was cut. What holds none is unparsed: counted, never guessed.
"""

from __future__ import annotations

import re
from typing import Literal

Position = Literal["first", "second", "tie"]
Side = Literal["a", "b", "tie"]
Order = Literal["ab", "ba"]
_PAIRWISE: dict[str, Position] = {"A": "first", "B": "second", "C": "tie"}
_VERDICT = re.compile(r"\[\[([^\[\]]*)\]\]")
RATINGS = (1.0, 10.0)
"""Between which a judge's ratings lie."""


def pairwise(output: str, cut: bool = False) -> Position | None:
    """The answer that an output prefers, by position.

    Args:
        cut: whether a token limit ended the output; what would have followed isn't known.

    >>> pairwise("The second answer claims [[A]], but it is wrong. [[B]]"), pairwise("Both are fine."), pairwise("[[A]] or [[B?]]")
    ('second', None, None)
    """
    found = _VERDICT.findall(output)
    return _PAIRWISE.get(found[-1].strip()) if found and not cut else None


def rating(output: str, cut: bool = False, whole: bool = True) -> float | None:
    """The number from 1 to 10 that an output ends with.

    Args:
        cut: as for ``pairwise``.
        whole: whether only a whole number counts.

    >>> rating("Good. Rating: [[7]]"), rating("[[11]]"), rating("7"), rating("[[7.5]]")
    (7.0, None, None, None)
    >>> rating("[[7.5]]", whole=False), rating("[[10.5]]", whole=False)
    (7.5, None)
    """
    found = _VERDICT.findall(output)
    form = r"[0-9]{1,2}" if whole else r"[0-9]{1,2}(?:\.[0-9]+)?"
    if not found or cut or not re.fullmatch(form, text := found[-1].strip()):
        return None
    return float(text) if RATINGS[0] <= float(text) <= RATINGS[1] else None


def side(position: Position | None, order: Order) -> Side | None:
    """Whose answer a verdict prefers, from the order in which ``a`` and ``b`` were shown."""
    if position is None or position == "tie":
        return position
    return "a" if (position == "first") == (order == "ab") else "b"


def together(one: Side | None, other: Side | None) -> Side | None:
    """Two verdicts on one pair, one in each order: disagreement is a tie, a missing one leaves nothing to say.

    >>> together("a", "a"), together("a", "b"), together("a", "tie"), together("a", None)
    ('a', 'tie', 'tie', None)
    """
    if one is None or other is None:
        return None
    return one if one == other else "tie"
