r"""The letter of an option that an answer names, in English and Portuguese.

The last that it states ("the answer is", "option B is correct", "a resposta é", a line with nothing but a letter), else the only
one that a line begins with. A correction behind it wins ("A. Wait, no. B", "é A, aliás, B"); what is only taken back names none.
What names two at once names none, and neither does what doubts ("I'm not sure the answer is A"), nor a word or a formula that
begins like a letter ("The answer is I think 5", "Answer: A lot", "E = mc^2").
"""

from __future__ import annotations

import re

from components.benchmarks._corrections import turns

_BEHIND = 1000
_DECORATION = re.compile(r"[*_`$]|\\(?:boxed|text|textbf|mathrm|mathbf)\b|[{}]")
_HEDGE = r"(?!\s*(?:/|,|\bor\b|\band\b|\bou\b|\be\b|&|(?=\())\s*(?:or\s|and\s|ou\s|e\s)?\s*(?!I\s+\w)\(?[A-Z]\)?(?![\w'’]))"
_FORMULA = r"(?!\s*(?:[=<>+^×·]|\\))"
# "A lot", "I think": an article or a pronoun, unless what follows gives a reason or goes on about the letter
_WORD = (
    r"(?!(?<=[AI])\s+(?!(?:is|because|since|as|for|which|and|or|but|not|due|by|rather|instead|porque|pois|e|ou|mas|não|é)\b)"
    r"[^\W_]+)"
)
_LETTER = (
    rf"(?:(?:option|choice|letter|letra|op[çc][ãa]o|alternativa)\s+)?"
    rf"(?:\((?P<{{0}}a>[A-Za-z])\)|(?P<{{0}}b>[A-Z])(?:\)|{_WORD})(?![A-Za-z'’])|(?P<{{0}}c>[a-z])(?=[.)]?\s*$))"
)
_NOT = r"(?:not\s+\(?[A-Z]\)?,?\s+but\s+|não\s+é\s+(?:a\s+)?(?:letra\s+)?\(?[A-Z]\)?,?\s+(?:mas\s+sim|mas|e\s+sim|é)\s+(?:a\s+)?)?"
_NAMES = r"(?:answer|option|choice|resposta|alternativa|op[çc][ãa]o|letra)"
_SAID = r"(?:\s+(?:correta|certa|final))?\s*(?:is\s*:?|é\s*:?|:)\s*(?:a\s+(?=letra|op|alt))?"
_STATED = re.compile(
    rf"(?i:\b{_NAMES}(?:{_SAID}|(?=\s+não\s+é))\s*{_NOT}(?:option\s+|choice\s+)?)"
    rf"{_LETTER.format('s')}{_HEDGE}{_FORMULA}|^\s*(?:(?i:{_NAMES})\s+)?\(?(?P<alone>[A-Z])[).:]?\s*$|\A\s*\(?(?P<small>[a-z])[).]?\s*\Z"
    r"|(?<![A-Za-z'’])\(?(?P<named>[A-Z])\)?\s+(?:is|é|está)\s+(?:a\s+)?(?:the\s+)?(?:correct|right|corret[ao]|cert[ao])\b"
    r"|(?i:\bit['’]?(?:\s+i)?s)\s+\(?(?P<corrected>[A-Z])\)?(?=\s*(?:[.!]\s|[.!]?\s*$))",
    re.MULTILINE,
)
_LISTED = re.compile(rf"^\s*(?:(?i:{_NAMES})\s+)?(?:\((?P<a>[A-Z])\)|(?P<b>[A-Z])[.):,;])", re.MULTILINE)
_DOUBT = re.compile(
    r"\b(?:(?:not (?:sure|certain|clear)|unsure|unclear|uncertain|doubt|don['’]t think|can['’]t say|não acho|duvido)\b[^.;:!?\n]*"
    r"|(?:whether|if|se)\s+(?:(?:the|a)\s+)?(?:correct\s+)?)$",
    re.IGNORECASE,
)
_LEAD = (
    r"(?i:(?:(?:so|therefore|thus|hence|then|rather|instead|actually|sorry|no|wait|i\s+(?:mean|meant|choose|pick|say)|make\s+(?:it|that)"
    r"|(?:it|that)(?:['’]?s|\s+is|\s+should\s+be|\s+must\s+be|\s+has\s+to\s+be|\s+would\s+be)|should\s+be|must\s+be"
    r"|(?:the\s+)?(?:correct\s+|right\s+|final\s+)?(?:answer|option|choice|letter)(?:\s+is|\s+should\s+be|\s+must\s+be)?"
    r"|é|será|seria|deve\s+ser|então|portanto|logo|digo|não(?=\s*[,:])|escolho|fico\s+com|quis\s+dizer"
    r"|(?:a\s+)?(?:resposta|opção|alternativa|letra)(?:\s+(?:correta|certa|final))?(?:\s+(?:é|seria|deve\s+ser))?)[\s,:]+){0,5})"
)
_NEXT = re.compile(
    rf"(?:(?<=[.;:!?,…\n—–-])|^)[\s.;:!?,…—–-]{{0,8}}{_LEAD}(?:\((?P<a>[A-Za-z])\)|(?P<b>[A-Z])\)?){_HEDGE}{_FORMULA}"
    r"(?=\s*(?:[.,;:!)—–\n]|$)|\s+(?i:because|since|instead|then|porque|pois|(?:is|é)\s+(?:a\s+)?(?:correct|right|cert[ao]|corret[ao])))"
)
_AND = re.compile(r"[\s,]*(?:and|or|e|ou)\s+(?:the\s+|a\s+)?(?:correct\s+)?", re.IGNORECASE)


def named(answer: str, known: set[str]) -> str | None:
    r"""The letter among ``known`` that an answer names, or None.

    >>> named("Hm. The answer is (B).", set("ABCD")), named("A resposta é a letra B.", set("ABCD")), named("A or B", set("AB"))
    ('B', 'B', None)
    >>> named("The answer is **A**.\nB. is wrong", set("ABCD")), named("A. no\nB. no", set("ABCD")), named("A. One", set("ABCD"))
    ('A', None, 'A')
    >>> named("A. Wait, no. B", set("ABCD")), named("A resposta é A, aliás, B.", set("ABCD")), named("A. Wait, no.", set("ABCD"))
    ('B', 'B', None)
    """
    text = _DECORATION.sub("", answer)
    stated = [match for match in _STATED.finditer(text) if not _DOUBT.search(text[max(0, match.start() - 200) : match.start()])]
    letters = [next(filter(None, match.groups())).upper() for match in stated]
    if len(stated) > 1 and letters[-1] != letters[-2] and _AND.fullmatch(text[stated[-2].end() : stated[-1].start()]):
        return None
    listed = {next(filter(None, match.groups())) for match in _LISTED.finditer(text)}
    found = letters[-1] if letters else listed.pop() if len(listed) == 1 else None
    found = _corrected(text, stated[-1].end() if stated else 0, found)
    return found if found in known else None


def _corrected(text: str, start: int, found: str | None) -> str | None:
    """The letter that a correction behind ``start`` names in the place of ``found``; None where that is only taken back."""
    for turn in turns(text, start):
        rest = text[turn.end() : turn.end() + _BEHIND]
        first = _NEXT.match(rest)
        if turn["back"] is None and (first is None or (found is None and rest[first.end() :].strip(" .!)"))):
            continue  # goes on about something else
        named = {(match["a"] or match["b"]).upper() for match in _NEXT.finditer(rest)}
        if found is not None or named:
            return named.pop() if len(named) == 1 else None
    return found
