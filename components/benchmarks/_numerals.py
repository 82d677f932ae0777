r"""Numbers in answers, as people and models write them.

``1,234.5``, ``1.234,5``, ``1'234.5``, ``−5``, ``.5``, ``1e6``, ``2 × 10^6``, ``2 million``, ``3/4``, ``1 1/2``, ``½``,
``\frac{1}{2}``, ``$1,200``, ``5 %``, ``12 m^2``. What has only one kind of separator is read in the English way where it can be
(``1,234`` is above a thousand, ``1.234`` isn't), else in the other one (``3,14``, ``1.234.567``); where it is known which sign
decimals have, that reading comes first instead.

Which number of an answer is its own: the one that it states, else its last (``components.benchmarks._stated``). What is a part of
something else is none: of a range or a choice (``5-6``, ``5 or 6``, ``[5, 6]``), of an expression (``2 + 3``,
``2^3``, ``\sqrt{3}``), of a time or date (``10:30``); what is no number in either way is none, and no part of it is taken for one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from components.benchmarks._stated import Region, aside, follows, region, taken_back, without_asides

Mark = Literal[".", ","]
"""What stands before a number's decimals."""

_GROUP = "['’\u00a0\u2009\u202f ]"
_TOKEN = re.compile(
    r"(?P<sign>(?<![\w)])[-−–])?(?:[$€£](?P<inner>[-−–])?)?"
    rf"(?P<digits>(?:\d|(?<![\w.])\.(?=\d))(?:[\d.,/]|(?<=\d){_GROUP}(?=\d{{3}}(?!\d)))*)"
    r"(?P<power>[eE][-+−]?\d+(?!\w))?"
)
_ENGLISH = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:,\d{3})+|\d*)(?:\.(?P<part>\d+))?")
_OTHER = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:\.\d{3})+|\d+)(?:,(?P<part>\d+))?")
_LARGEST_POWER = _MOST_DIGITS = 400
_BOXES = 8
_BEFORE = 200
_NUMBERS = 64
_FRACTION = re.compile(r"(\d+)/(\d+)")
_SCALES = {
    "hundred": 2,
    "thousand": 3,
    "k": 3,
    "mil": 3,
    "million": 6,
    "milhão": 6,
    "milhões": 6,
    "billion": 9,
    "bilhão": 9,
    "bilhões": 9,
    "trillion": 12,
    "trilhão": 12,
    "trilhões": 12,
}
_SCALE = re.compile(rf"\s+(?P<word>{'|'.join(name for name in _SCALES if name != 'k')})s?\b|(?P<k>k)\b", re.IGNORECASE)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWER = r"\^\s*\{?(?P<power>[-+−]?\d+)\}?"
_SCIENTIFIC = re.compile(rf"(?P<digits>\d)\s*(?:[x×*·]|\\times|\\cdot)\s*10\s*{_POWER}")
_TEN = re.compile(rf"(?<![\w.,^])10\s*{_POWER}")
_LATEX = re.compile(r"\\[dt]?frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))")
_WHOLE = re.compile(r"(?<![\d.,/])(?P<sign>(?<![\w)])[-−–])?(?P<whole>\d+)\s+$")
_UNIT = re.compile(r"(?<![a-zA-Z])(?:[kcdmµ]?m|ft|in|yd|mi|s)(?:\^\{?|\*\*)$")
_INDEX = re.compile(r"[a-zA-Z]_\{?$")
_NEGATED = r"(?:not|nor|não|nem|rather\s+than|instead\s+of|em\s+vez\s+de|ao\s+invés\s+de)"
_PLACES = (  # what is counted, not a number of anything
    r"(?:steps?|passos?|equations?|equaç(?:ão|ões)|eq\.|tables?|tabelas?|figures?|figuras?|fig\.|questions?|quest(?:ão|ões)|chapters?"
    r"|capítulos?|sections?|seç(?:ão|ões)|pages?|páginas?|examples?|exemplos?|problems?|problemas?|as\s+of)"
)
_REFUSED = re.compile(rf"\b(?:{_NEGATED}|{_PLACES})\s+[$€£R\s]*$", re.IGNORECASE)
_CITED = re.compile(r"\s\[$")
_DENIED = re.compile(rf"\b{_NEGATED}\s+[$€£R\s]*$", re.IGNORECASE)
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?"
    r"|[Jj]aneiro|[Ff]evereiro|[Mm]arço|[Aa]bril|[Mm]aio|[Jj]unho|[Jj]ulho|[Aa]gosto|[Ss]etembro|[Oo]utubro|[Nn]ovembro|[Dd]ezembro)\.?"
)
_DATED = re.compile(rf"\b{_MONTH}\s+(?:de\s+|\d{{1,2}}(?:st|nd|rd|th)?,?\s+)?$")
_UNITS = (  # of which the next smaller one may follow: 3 hours 20 minutes, 5 feet 7 inches
    r"(?:feet|foot|ft|yards?|pounds?|lbs?|years?|anos?|months?|m[eê]s(?:es)?|weeks?|semanas?|days?|dias?|hours?|hrs?|h|horas?|min|minutes?"
    r"|minutos?|dollars?|d[óo]lares|reais|euros?)"
)
_PART = re.compile(
    r"(?:[\^√]|[0-9)]_)\s*[({]?$"  # an exponent, an index, a root
    r"|\\(?!boxed|fbox|text|math)[a-zA-Z]+\s*[({]?$|\b(?:sqrt|log|ln|sin|cos|tan|exp)\s*\(?$"
    r"|\d:$|\d\s*[-−–*]\s*$|[\w)]\s*[+×·÷]\s*$|\d\s*(?:\\times|\\cdot|\\pm)\s*$"
    r"|\d\s*±\s*$|\b(?:minus|plus|times|divided\s+by|menos|mais|vezes|dividido\s+por)\s+[$€£]?$"
    rf"|\d\S*\s+{_UNITS},?\s+$|\d\S*(?:\s+\w+)?,?\s+(?:out\s+of|of|de|and|e)\s+(?:the\s+|os\s+|as\s+)?[$€£]?$"
    r"|\d\S*(?:\s+\w+)?,?\s+(?:or|ou)\s+(?:\w\s*=\s*)?[$€£]?$|\d\S*,?\s+(?:and|e)\s+\w\s*=\s*$|\d\S*\s+(?:to|a|até)\s+[$€£]?$|\b(?:between|entre)\s[^.;\n]*\d\S*\s+(?:and|e)\s+[$€£]?$"
    r"|[\[({]\s*[-−–]?\d[^\])}\n]*[,;]\s*[-−–]?$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    rf"\s+(?:de\s+|of\s+)?{_MONTH}(?!\w)|\s+(?:dozens?|dúzias?|out\s+of\s+(?:the\s+)?\d|of\s+(?:them|which|whom)|deles|delas)\b|\s*±"
    r"|\s*(?:\^|\*\*(?=\d)|[+×·÷]\s*[\w(\\]|\\(?:sqrt|pi|times|cdot|pm)\b|[√π])|_\{?\d|:\d"
)
_MINUS = re.compile(r"(?:(?<=is )|(?<=é )|(?<=: )|(?<== )|^)(?:minus|negative|menos|negativo)\s+(?=\d)", re.IGNORECASE)
_CLOSED = re.compile(r"\s*[\])}]")


def number(text: str, decimal: Mark | None = None) -> Fraction | None:
    """The number that a text is, with nothing else in it but a currency or percent sign; None if it is none.

    >>> number("1,234.50"), number("3/4"), number("ten"), number("7 apples"), number("1,23,4"), number("½")
    (Fraction(2469, 2), Fraction(3, 4), None, None, None, Fraction(1, 2))
    >>> number("1.234", ","), number("1,234", ","), number("1,234.5", ",")
    (Fraction(1234, 1), Fraction(617, 500), Fraction(2469, 2))
    """
    match = _TOKEN.fullmatch(_folded(text).strip().removesuffix("%").strip())
    return _value(match, decimal) if match else None


def last_number(answer: str, decimal: Mark | None = None) -> Fraction | None:
    r"""The number in the last box of an answer, the one that it states, or its last; None if that is a part of something else.

    A number at which the token limit cut the answer (``answer.truncated``) may go on, so it is none.

    >>> last_number("The answer is 7, since 3 and 4 make 7, as in step 2"), last_number("7 apples in 2 baskets")
    (Fraction(7, 1), None)
    >>> last_number("It is \\boxed{7}, found in 2 steps."), last_number("2, not 3."), last_number("2 or 3")
    (Fraction(7, 1), Fraction(2, 1), None)
    """
    boxed = _boxed(answer)
    text = _negative(_folded(answer if boxed is None else boxed))
    text = text if boxed is not None else without_asides(text)
    found = region(text) if boxed is None else Region(0, len(text), True)
    if found is None:
        return None
    cut = getattr(answer, "truncated", False)
    numbers = deque(_TOKEN.finditer(text, found.start, found.end), _NUMBERS)
    said = [match for match in numbers if not _is_unread(text, match)]
    for place, match in reversed(list(enumerate(said))):
        if cut and match.end() == len(text):
            return None
        before, after = _before(text, match), text[match.end() :]
        if _is_part(before, after) or (not found.stated and taken_back(text, match.end())):
            return None
        if boxed is None and aside(text, match, found.start):
            if not found.stated:
                return None  # which of two numbers is the answer isn't said
            continue
        between = text[said[place - 1].end() : match.start()] if place else ""
        if boxed is None and found.stated and between.strip() and not follows(between):
            return None  # nor of two behind "the answer is"
        return _whole(match, before, after, decimal)
    return None


def denies_last(answer: str) -> bool:
    """Whether an answer without a box ends in a number that it says it isn't: "7, e não 8"."""
    text = _folded(answer)
    last = deque(_TOKEN.finditer(text), 1)
    return bool(last) and _boxed(answer) is None and _DENIED.search(_before(text, last[0])) is not None


def written(value: Fraction) -> str:
    """A number in one form for all its spellings: decimals where they end, else a fraction."""
    for places in range(value.denominator.bit_length()):
        if (value * 10**places).denominator == 1:
            digits = f"{abs(int(value * 10**places)):0{places + 1}d}"
            whole = f"{digits[:-places]}.{digits[-places:]}" if places else digits
            return f"-{whole}" if value < 0 else whole
    return str(value)


def _boxed(answer: str) -> str | None:
    r"""What stands in the last whole ``\boxed{…}``."""
    for start in reversed([match.end() for match in re.finditer(r"\\f?boxed\s*\{", answer)][-_BOXES:]):
        depth = 1
        for place, character in enumerate(answer[start:], start):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if not depth:
                return answer[start:place]
    return None


def _before(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - _BEFORE) : match.start()]


def _is_unread(text: str, match: re.Match[str]) -> bool:
    """Whether a number isn't one of anything: "not 3", "step 3", " [3]", the 2 of m^2, the 1 of x_1."""
    before = _before(text, match)
    return any(unread.search(before) for unread in (_REFUSED, _CITED, _UNIT, _INDEX))


def _is_part(before: str, after: str) -> bool:
    found = _PART.search(before)
    if found is not None and found[0][0] in "[({":  # one of several in brackets
        return _CLOSED.match(after) is not None or _GOES_ON.match(after) is not None
    return found is not None or _DATED.search(before) is not None or _GOES_ON.match(after) is not None


def _whole(match: re.Match[str], before: str, after: str, decimal: Mark | None) -> Fraction | None:
    """A number with what belongs to it: the whole before a fraction (``1 1/2``), a word behind it (``2 million``)."""
    value = _value(match, decimal)
    if value is None:
        return None
    if "/" in match["digits"] and not match["sign"] and 0 < value < 1 and (mixed := _WHOLE.search(before)):
        value += int(mixed["whole"])
        return -value if mixed["sign"] else value
    if scale := _SCALE.match(after):
        value *= 10 ** _SCALES[(scale["word"] or scale["k"]).lower()]
    return value


def _value(match: re.Match[str], decimal: Mark | None) -> Fraction | None:
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


def _folded(text: str) -> str:
    """Digits of other scripts as 0 to 9; fractions, powers of ten and LaTeX's separators in plain signs."""
    text = text.replace("{,}", ",").replace("\\,", "\u202f").replace("\\!", "").replace("\\{", "{").replace("\\}", "}")
    text = re.sub("[⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda raised: "^" + raised[0].translate(_RAISED), text)
    text = "".join(_digit(character) for character in text)
    text = _LATEX.sub(lambda f: f" {f[1] or f[2]}/{f[3] or f[4]}", text)
    text = re.sub(r"(?<=\d) +/ +(?=\d)", "/", text)
    text = _SCIENTIFIC.sub(lambda found: f"{found['digits']}e{found['power']}", text)
    return _TEN.sub(lambda found: f"1e{found['power']}", text)


def _negative(text: str) -> str:
    """Has "minus 5" as −5, where it isn't a difference."""
    return _MINUS.sub("−", text)


def _digit(character: str) -> str:
    if character.isascii():
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    parts = unicodedata.normalize("NFKC", character).split("\u2044")
    return f" {parts[0]}/{parts[1]}" if len(parts) == 2 and all(map(str.isdecimal, parts)) else character
