r"""The letter of an option that an answer names, in English and Portuguese.

The last that it states ("the answer is", "option B is correct", "a resposta é", a line with nothing but a letter), else the only
one that a line begins with. What names two at once names none, and neither does what doubts ("I'm not sure the answer is A"), nor
a word or a formula that begins like a letter ("The answer is I think 5", "Answer: A lot", "E = mc^2").
"""

from __future__ import annotations

import re

_DECORATION = re.compile(r"[*_`$]|\\(?:boxed|text|textbf|mathrm|mathbf)\b|[{}]")
_HEDGE = r"(?!\s*(?:/|,|\bor\b|\band\b|\bou\b|\be\b|&|(?=\())\s*(?:or\s|and\s|ou\s|e\s)?\s*\(?[A-Z]\)?(?![\w'’]))"
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
_NAMES = r"(?:answer|option|choice|resposta|alternativa|op[çc][ãa]o|letra)"
_SAID = r"(?:\s+(?:correta|certa|final))?\s*(?:is\s*:?|é\s*:?|:)\s*(?:a\s+(?=letra|op|alt))?"
_STATED = re.compile(
    rf"(?i:\b{_NAMES}{_SAID}\s*(?:not\s+\(?[A-Z]\)?,?\s+but\s+)?(?:option\s+|choice\s+)?)"
    rf"{_LETTER.format('s')}{_HEDGE}{_FORMULA}|^\s*\(?(?P<alone>[A-Z])[).:]?\s*$|\A\s*\(?(?P<small>[a-z])[).]?\s*\Z"
    r"|(?<![A-Za-z'’])\(?(?P<named>[A-Z])\)?\s+(?:is|é|está)\s+(?:a\s+)?(?:the\s+)?(?:correct|right|corret[ao]|cert[ao])\b"
    r"|(?i:\bit['’]?(?:\s+i)?s)\s+\(?(?P<corrected>[A-Z])\)?(?=\s*(?:[.!]\s|[.!]?\s*$))",
    re.MULTILINE,
)
_LISTED = re.compile(r"^\s*(?:\((?P<a>[A-Z])\)|(?P<b>[A-Z])[.):,;])", re.MULTILINE)
_DOUBT = re.compile(
    r"\b(?:(?:not (?:sure|certain|clear)|unsure|unclear|uncertain|doubt|don['’]t think|can['’]t say|não acho|duvido)\b[^.;:!?\n]*"
    r"|(?:whether|if|se)\s+(?:(?:the|a)\s+)?(?:correct\s+)?)$",
    re.IGNORECASE,
)
_AND = re.compile(r"[\s,]*(?:and|or|e|ou)\s+(?:the\s+|a\s+)?(?:correct\s+)?", re.IGNORECASE)


def named(answer: str, known: set[str]) -> str | None:
    r"""The letter among ``known`` that an answer names, or None.

    >>> named("Hm. The answer is (B).", set("ABCD")), named("A resposta é a letra B.", set("ABCD")), named("A or B", set("AB"))
    ('B', 'B', None)
    >>> named("The answer is **A**.\nB. is wrong", set("ABCD")), named("A. no\nB. no", set("ABCD")), named("A. One", set("ABCD"))
    ('A', None, 'A')
    """
    text = _DECORATION.sub("", answer)
    stated = [match for match in _STATED.finditer(text) if not _DOUBT.search(text[max(0, match.start() - 200) : match.start()])]
    letters = [next(filter(None, match.groups())).upper() for match in stated]
    if len(stated) > 1 and letters[-1] != letters[-2] and _AND.fullmatch(text[stated[-2].end() : stated[-1].start()]):
        return None
    listed = {next(filter(None, match.groups())) for match in _LISTED.finditer(text)}
    found = letters[-1] if letters else listed.pop() if len(listed) == 1 else None
    return found if found in known else None
