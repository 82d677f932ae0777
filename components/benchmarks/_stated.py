r"""Which part of an answer states its number, and which numbers in it are said of something else.

A statement ("the answer is 12", "resposta: 12", ``#### 12``) counts up to its end or to a reason ("12, since 3 * 4 = 12 as in step
2"); a correction behind it wins ("wait, no, 13"). Without one the whole answer is read.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from components.benchmarks._corrections import TURNS, turns


class Region(NamedTuple):
    """A part of a text, and whether it stands behind words such as "the answer is"."""

    start: int
    end: int
    stated: bool


_STATEMENT = re.compile(
    r"\b(?:answer|resposta)(?:\s+(?:final|correta|certa))?\s*(?:(?:is|would\s+be|should\s+be|é|seria|será|são)\b\s*:?|[:=])|####",
    re.IGNORECASE,
)
_END = re.compile(
    r"[.!?](?=\s|$)|[\n;]|\s\((?=[^)]{0,200}[^\W\d_]{2})|\s\[\d+\]"
    r"|,?\s+(?:since|because|as|which|where|given|pois|porque|já\s+que|uma\s+vez\s+que|visto\s+que|dado\s+que|que|como)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_SENTENCE = re.compile(r"[.!?](?=\s)|[\n;]")
_AFTER_TURN = re.compile(
    r"[\s.,:;—–-]{0,8}(?:(?:it|that)(?:['’]?s|\s+is)|is|é|são|i\s+mean|i\s+meant|quis\s+dizer|make\s+(?:it|that))?"
    r"\s*[-−–$€£R ]*\d[^.;!?\n]{0,40}"
)
_ASIDE = re.compile(r"\s\((?=[^()]{0,200}[^\W\d_]{2})[^()]{0,400}\)")
_OF_SOMETHING = re.compile(
    r"(?:\b(?:for|in|by|with|per|from|at|after|within|during|including|using|para|em|por|com|após|durante"
    r"|incluindo|usando|a\s+cada|nos|nas|pelos|pelas)"
    r"|(?<!total )(?<!sum )(?<!soma )(?<!result )(?<!average )(?<!média )\b(?:of|de|dos|das))"
    r"\s+(?:the\s+|each\s+|every\s+|all\s+|os\s+|as\s+|cada\s+|only\s+|just\s+)?[$€£R ]*$",
    re.IGNORECASE,
)
_REASON = re.compile(r"\b(?:since|because|pois|porque|já\s+que|uma\s+vez\s+que)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d.,]*")
_COMES_TO = re.compile(
    r"[=≈→⇒]|\b(?:is|are|was|equals?|makes?|gives?|get|so|thus|therefore|hence|but|que\s+dá"
    r"|é|são|igual|então|logo|portanto|ou\s+seja|mas)\b",
    re.IGNORECASE,
)


def region(text: str) -> Region | None:
    """Where an answer's number is to be looked for; None where what was said is only taken back, or stated without a digit."""
    statements = list(_STATEMENT.finditer(text))
    if not statements:
        return Region(0, len(text), False)
    for statement in reversed(statements[-TURNS:]):
        found = _DIGIT.search(text, statement.end())
        if found is None:
            continue
        if statement is not statements[-1] and _SENTENCE.search(text, statement.end(), found.start()):
            continue  # its number belongs to something later
        end = _END.search(text, found.end())
        return _corrected(text, found.end(), Region(statement.end(), end.start() if end else len(text), True))
    return None


def aside(text: str, match: re.Match[str], start: int) -> bool:
    """Whether a number says something about another one before it: "7 apples in 2 baskets", "12, since 3 and 3 are 6"."""
    place = match.start()
    ends = [end.end() for end in _SENTENCE.finditer(text, max(start, place - 400), place)]
    sentence = text[max(ends[-1] if ends else start, place - 400) : place]
    if _DIGIT.search(sentence) is None:
        return False
    reason = _REASON.search(sentence)
    given = [] if reason is None else _NUMBER.findall(sentence[: reason.start()])
    because = bool(given) and match["digits"].rstrip(".,") not in {number.rstrip(".,") for number in given}
    return because or _OF_SOMETHING.search(sentence) is not None


def follows(between: str) -> bool:
    """Whether the words between two numbers say that the second is what the first comes to: "10 minus 3, that is 7"."""
    return _COMES_TO.search(between) is not None


def taken_back(text: str, place: int) -> bool:
    """Whether what stands before ``place`` is taken back behind it."""
    return any(turn["back"] for turn in turns(text, place))


def without_asides(text: str) -> str:
    """The text without remarks in brackets behind a number: "12 (rounded from 11.6)"."""
    first = _DIGIT.search(text)
    return text if first is None else text[: first.end()] + _ASIDE.sub("", text[first.end() :])


def _corrected(text: str, start: int, found: Region) -> Region:
    for turn in turns(text, start):
        if turn["back"]:
            return Region(turn.end(), len(text), False)
        if follows := _AFTER_TURN.match(text, turn.end()):
            return Region(turn.end(), follows.end(), False)
    return found
