r"""Rules that score an answer of a team's own set against the right ones, and say what they read in it.

Numbers are read as people write them: ``1,234.5``, ``1.234,5``, ``1'234.5``, ``−5``, ``.5``, ``1e6``, ``3/4``, ``$1,200``, ``5 %``.
What has only one kind of separator is read in the English way where it can be (``1,234`` is above a thousand, ``1.234`` isn't),
else in the other one (``3,14``, ``1.234.567``); what is no number in either is none, and no part of it is taken for one.
Where a set says which sign its decimals have, that reading comes first instead. Where it doesn't, an answer that would be right in
the other reading only is no wrong number: it reads as two things, and counts as one that couldn't be read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, Protocol

from components.benchmarks._math import read, same
from components.text import holds_word

_GROUP = "['’\u00a0\u2009\u202f ]"
_TOKEN = re.compile(
    r"(?P<sign>(?<![\w)])[-−])?(?:[$€£](?P<inner>[-−])?)?"
    rf"(?P<digits>(?:\d|(?<![\w.])\.(?=\d))(?:[\d.,/]|(?<=\d){_GROUP}(?=\d{{3}}(?!\d)))*)"
    r"(?P<power>[eE][-+−]?\d+(?!\w))?"
)
_ENGLISH = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:,\d{3})+|\d*)(?:\.(?P<part>\d+))?")
_OTHER = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:\.\d{3})+|\d+)(?:,(?P<part>\d+))?")
_LARGEST_POWER = _MOST_DIGITS = 400
_FRACTION = re.compile(r"(\d+)/(\d+)")
Mark = Literal[".", ","]
"""What stands before a number's decimals."""


class Scorer(Protocol):
    """Scores an answer."""

    def __call__(self, targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
        """(whether it is right, what was read in it or None); ``options`` are those of a question that has some."""


_DECORATION = re.compile(r"[*_`$]|\\(?:boxed|text|textbf|mathrm|mathbf)\b|[{}]")
_HEDGE = r"(?!\s*(?:/|\bor\b|\band\b|&)\s*\(?[A-Z]\)?(?![A-Za-z]))"
_LETTER = r"(?:(?:option|choice)\s+)?(?:\((?P<{0}a>[A-Za-z])\)|(?P<{0}b>[A-Z])\)?(?![A-Za-z'’])|(?P<{0}c>[a-z])(?=[.)]?\s*$))"
_STATED = re.compile(
    rf"(?i:\b(?:answer|option|choice)\s*(?:is\s*:?|:)\s*(?:not\s+\(?[A-Z]\)?,?\s+but\s+)?(?:option\s+|choice\s+)?)"
    rf"{_LETTER.format('s')}{_HEDGE}|^\s*\(?(?P<alone>[A-Z])[).:]?\s*$"
    r"|(?<![A-Za-z'’])\(?(?P<named>[A-Z])\)?\s+is\s+(?:the\s+)?(?:correct|right)\b",
    re.MULTILINE,
)
_LISTED = re.compile(r"^\s*(?:\((?P<a>[A-Z])\)|(?P<b>[A-Z])[.):,;])", re.MULTILINE)


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
    """Whether the last number of an answer is one of the targets, and which it is.

    A number at which the token limit cut the answer may go on, so it is none.

    >>> numeric(["1200"], "In all $1,200."), numeric(["7"], "7 of 8"), numeric(["7"], "seven"), numeric(["3"], "ports 1-3")
    ((True, '1200'), (False, '8'), (False, None), (True, '3'))
    >>> numeric(["1234.5"], "1.234,5 km"), numeric(["-5"], "x = −5"), numeric(["0.5"], "it is 1/2"), numeric(["5"], "v1.2.5")
    ((True, '1234.5'), (True, '-5'), (True, '0.5'), (False, None))
    >>> numeric(["1234"], "1.234", decimal=","), numeric(["1234"], "1.234", decimal="."), numeric(["1234"], "1.234")
    ((True, '1234'), (False, '1.234'), (False, None))

    Args:
        decimal: how the targets and answers write decimals; see the module where that isn't known.
    """
    text = _ascii_digits(answer)
    found = list(_TOKEN.finditer(text))
    if not found or (getattr(answer, "truncated", False) and found[-1].end() == len(text)):
        return False, None
    value, wanted = _value(found[-1], decimal), {number(target, decimal) for target in targets} - {None}
    if decimal is None and value not in wanted and _value(found[-1], ",") in wanted:
        return False, None
    return value is not None and value in wanted, None if value is None else _written(value)


def math_verify(targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
    """Whether math-verify finds an answer equal to one of the targets, and what it reads."""
    return any(same(target, answer) for target in targets), read(answer)


def multiple_choice(targets: Sequence[str], answer: str, options: Sequence[str] = ()) -> tuple[bool, str | None]:
    r"""Whether an answer names the right letter: the last that it states ("the answer is", "option B is correct", a line with
    nothing but a letter), else the only one that a line begins with. What names two at once, or none of the options, names none.

    >>> multiple_choice(["B"], "Hm. The answer is (B)."), multiple_choice(["B"], "A. One"), multiple_choice(["B"], "I say B")
    ((True, 'B'), (False, 'A'), (False, None))
    >>> multiple_choice(["B"], "The answer is not A but B"), multiple_choice(["A"], "The answer is A or B")
    ((True, 'B'), (False, None))
    >>> multiple_choice(["A"], "The answer is **A**.\nB. is wrong"), multiple_choice(["B"], "A. no\nB. no")
    ((True, 'A'), (False, None))
    """
    text = _DECORATION.sub("", answer)
    known = {chr(ord("A") + place) for place in range(len(options) or 26)}
    stated = [next(filter(None, match.groups())).upper() for match in _STATED.finditer(text)]
    listed = {next(filter(None, match.groups())) for match in _LISTED.finditer(text)}
    found = stated[-1] if stated else listed.pop() if len(listed) == 1 else None
    return (found in known and found == targets[0], found) if found in known else (False, None)


SCORERS: dict[str, Scorer] = {
    "exact": exact,
    "contains": contains,
    "numeric": numeric,
    "math_verify": math_verify,
    "multiple_choice": multiple_choice,
    "judge": exact,
}


def number(text: str, decimal: Mark | None = None) -> Fraction | None:
    """The number that a text is, with nothing else in it but a currency or percent sign; None if it is none.

    >>> number("1,234.50"), number("3/4"), number("ten"), number("7 apples"), number("1,23,4")
    (Fraction(2469, 2), Fraction(3, 4), None, None, None)
    >>> number("1.234", ","), number("1,234", ","), number("1,234.5", ",")
    (Fraction(1234, 1), Fraction(617, 500), Fraction(2469, 2))
    """
    match = _TOKEN.fullmatch(_ascii_digits(text).strip().removesuffix("%").strip())
    return _value(match, decimal) if match else None


def _written(value: Fraction) -> str:
    """A number in one form for all its spellings: decimals where they end, else a fraction."""
    for places in range(value.denominator.bit_length()):
        if (value * 10**places).denominator == 1:
            digits = f"{abs(int(value * 10**places)):0{places + 1}d}"
            whole = f"{digits[:-places]}.{digits[-places:]}" if places else digits
            return f"-{whole}" if value < 0 else whole
    return str(value)


def _value(match: re.Match[str], decimal: Mark | None = None) -> Fraction | None:
    digits, power = re.sub(_GROUP, "", match["digits"]).rstrip(".,/"), (match["power"] or "").replace("−", "-")
    if " " in match["digits"]:
        return None  # "3 100" may be one number or two
    if len(digits) > _MOST_DIGITS or len(power) > 5 or (power and abs(int(power[1:])) > _LARGEST_POWER):
        return None  # a model that repeats a digit until it is cut says no number
    if fraction := _FRACTION.fullmatch(digits):
        value = Fraction(int(fraction[1]), int(fraction[2])) if int(fraction[2]) else None
    else:
        first, second = (_OTHER, _ENGLISH) if decimal == "," else (_ENGLISH, _OTHER)
        parts = first.fullmatch(digits) or second.fullmatch(digits)
        bare = re.sub("[.,]", "", parts["whole"]) or "0" if parts else ""
        value = Fraction(Decimal(f"{bare}.{parts['part'] or 0}{power}")) if parts and digits else None
    return -value if value is not None and (match["sign"] or match["inner"]) else value


def _ascii_digits(text: str) -> str:
    """Digits of other scripts as 0 to 9, LaTeX's separators as plain ones; of the same meaning, not of the same length."""
    text = text.replace("{,}", ",").replace("\\,", "\u202f").replace("\\!", "")
    return "".join(str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else c for c in text)


def _plain(text: str) -> str:
    bare = " ".join(unicodedata.normalize("NFC", text).split()).casefold()
    return bare.rstrip(".").strip() or bare
