r"""Rules that score an answer of a team's own set against the right ones, and say what they read in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Protocol

from components.benchmarks._letters import named
from components.benchmarks._math import read, same
from components.benchmarks._numerals import Mark, last_number, number, written
from components.text import holds_word


class Scorer(Protocol):
    """Scores an answer."""

    def __call__(self, targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
        """(whether it is right, what was read in it or None); ``options`` are those of a question that has some."""


def exact(targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
    r"""Whether an answer is one of the targets, and what it is.

    >>> exact(["Paris"], " paris. \n"), exact(["Paris"], "Paris, France"), exact(["..."], " ")
    ((True, 'paris'), (False, 'paris, france'), (False, None))
    """
    found = _plain(answer)
    return bool(found) and found in {_plain(target) for target in targets}, found or None


def contains(targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
    """Whether one of the targets stands in an answer as whole words, and which.

    >>> contains(["8080"], "It listens on 8080."), contains(["8080"], "on 18080"), contains(["8080"], "")
    ((True, '8080'), (False, 'on 18080'), (False, None))
    """
    found = next((target for target in targets if holds_word(answer, target)), None)
    return found is not None, found or answer.strip() or None


def numeric(
    targets: Sequence[str], answer: str, options: Sequence[str] = (), decimal: Mark | None = None
) -> tuple[bool, str | None]:
    r"""Whether the number that an answer states, or its last, or that in its last box is one of the targets, and which it is.

    Where a set doesn't say which sign its decimals have, an answer that would be right in the other reading only is no wrong
    number: it reads as two things, and counts as one that couldn't be read.

    >>> numeric(["1200"], "In all $1,200."), numeric(["7"], "7, not 8"), numeric(["7"], "seven"), numeric(["3"], "ports 1-3")
    ((True, '1200'), (True, '7'), (False, None), (False, None))
    >>> numeric(["1234.5"], "1.234,5 km"), numeric(["-5"], "x = −5"), numeric(["0.5"], "it is 1/2"), numeric(["5"], "v1.2.5")
    ((True, '1234.5'), (True, '-5'), (True, '0.5'), (False, None))
    >>> numeric(["1234"], "1.234", decimal=","), numeric(["1234"], "1.234", decimal="."), numeric(["1234"], "1.234")
    ((True, '1234'), (False, '1.234'), (False, None))

    Args:
        decimal: how the targets and answers write decimals, if that is known.
    """
    value, wanted = last_number(answer, decimal), {number(target, decimal) for target in targets} - {None}
    if decimal is None and value not in wanted and last_number(answer, ",") in wanted:
        return False, None
    return value is not None and value in wanted, None if value is None else written(value)


def math_verify(targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
    """Whether math-verify finds an answer equal to one of the targets, and what it reads."""
    return any(same(target, answer) for target in targets), read(answer)


def multiple_choice(targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
    r"""Whether an answer names the right letter, and which it names (see ``_letters``).

    >>> multiple_choice(["B"], "Hm. The answer is (B)."), multiple_choice(["B"], "A. One"), multiple_choice(["B"], "I say B")
    ((True, 'B'), (False, 'A'), (False, None))
    >>> multiple_choice(["B"], "The answer is not A but B"), multiple_choice(["A"], "The answer is A or B")
    ((True, 'B'), (False, None))
    """
    found = named(answer, {chr(ord("A") + place) for place in range(len(options) or 26)})
    return found is not None and found == targets[0], found


SCORERS: dict[str, Scorer] = {
    "exact": exact,
    "contains": contains,
    "numeric": numeric,
    "math_verify": math_verify,
    "multiple_choice": multiple_choice,
    "judge": exact,
}


def _plain(text: str) -> str:
    bare = " ".join(unicodedata.normalize("NFC", text).split()).casefold()
    return bare.rstrip(".").strip() or bare
