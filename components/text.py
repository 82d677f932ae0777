"""What a text says, by rule: the final answer, a required word, finished sentences. Rewards and benchmarks share it."""

from __future__ import annotations

import re
import unicodedata

_CLOSERS = "\"'”’»)]"
_OPENERS = "\"'“‘«(["
_NUMBER = r"[-−]?\s?[$€£]?[-−]?(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?P<decimals>\.[0-9]+)?"
_ANSWER = re.compile(rf"\banswer\s*(?:is\s*:?|:|=)\s*(?P<number>{_NUMBER})(?![.,/]?[0-9])", re.IGNORECASE)
_ONLY_NUMBER = re.compile(rf"\s*(?P<number>{_NUMBER})\s*")
# A title is followed by a name, so its full stop never ends a sentence; nor does that of an initial before a name.
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|Mt|e\.g|i\.e|vs)\.$")
_INITIAL = re.compile(r"(?:^|[\s.])[A-HJ-Z]\.$")
_NO_NUMBER_BEFORE = r"(?<!\d[.,/])(?<![^\w\s][-−–])(?<!\s[-−–])(?<!^[-−–])"
_NO_NUMBER_BEHIND = r"(?!\w)(?![.,/:]\d)"
_NO_OTHER_NAME = r"(?![\w\u0300-\u036f])(?!\+\+|#)"
_BOUNDARY = re.compile(rf"[.!?…]+[{re.escape(_CLOSERS)}]*(?=\s|$)")


def final_answer(text: str) -> str | None:
    """The number of the last "… answer is N", in canonical form, or None if the text states none.

    Thousands separators, currency signs, units and leading zeros are dropped; a badly grouped number is none at all.

    >>> final_answer("3 + 4 = 7. The answer is 7.")
    '7'
    >>> final_answer("The answer is $1,234.50 in all.")
    '1234.5'
    >>> final_answer("The answer is −08 degrees")
    '-8'
    >>> final_answer("The answer is 4. No, the answer is 5.")
    '5'
    >>> final_answer("There are 7 apples.") is None
    True
    >>> final_answer("The answer is 1,23.") is None
    True
    """
    found = list(_ANSWER.finditer(text))
    return _canonical(found[-1]) if found else None


def number(text: str) -> str | None:
    """A text that is nothing but one number, in the canonical form of ``final_answer``; else None.

    >>> number("1,234"), number("3.0"), number("-0"), number("seven")
    ('1234', '3', '0', None)
    """
    match = _ONLY_NUMBER.fullmatch(text)
    return _canonical(match) if match else None


def holds_word(text: str, word: str) -> bool:
    """Whether a word (or phrase) stands in the text as whole words, in any case; a possessive 's may follow.

    A number stands there only as a whole: 5 doesn't in 5.5, -5, 5,000 or 5/8; nor does C in C++.

    >>> holds_word("The Dog's bone.", "dog"), holds_word("Two dogs ran.", "dog"), holds_word("He can't.", "can")
    (True, False, False)
    >>> holds_word("It costs 5.50.", "5"), holds_word("It costs 5.", "5"), holds_word("on 127.0.0.1:8080", "8080")
    (False, True, True)

    Raises:
        ValueError: if the word is empty.
    """
    parts = _folded(word).split()
    if not parts:
        raise ValueError("the required word is empty")
    phrase = r"\s+".join(re.escape(part) for part in parts)
    before = _NO_NUMBER_BEFORE if parts[0][0].isdigit() else ""
    behind = _NO_NUMBER_BEHIND if parts[-1][-1].isdigit() else _NO_OTHER_NAME
    return re.search(rf"(?<![\w])(?<!\w['’]){before}{phrase}(?:['’]s)?{behind}(?!['’]\w)", _folded(text)) is not None


def ends_sentence(text: str) -> bool:
    """Whether the text ends where a sentence does: with . ! ? or …, or with closing quotes or brackets behind one.

    >>> ends_sentence('She said, "Run!"'), ends_sentence("They were happy. "), ends_sentence("They saw Mr.")
    (True, True, False)
    >>> ends_sentence('They ran. "'), ends_sentence("It cost 3.5"), ends_sentence("")
    (False, False, False)
    """
    bare = text.rstrip().rstrip(_CLOSERS)
    return bare.endswith((".", "!", "?", "…")) and not _TITLE.search(bare) and _has_word(bare)


def sentence_count(text: str) -> int:
    """Finished sentences. Titles, initials, decimals and speech inside a sentence don't end one; bare dots are none.

    >>> sentence_count('Mr. Fox had 3.5 plums. "Stop!" he said. He ran')
    2
    >>> sentence_count("Hi. . . . !"), sentence_count("One day... Tim ran! Why?")
    (1, 3)
    """
    count = start = 0
    for match in _BOUNDARY.finditer(text):
        sentence, rest = text[start : match.end()], text[match.end() :].lstrip()
        if _TITLE.search(sentence) or (rest and _INITIAL.search(sentence)) or rest.lstrip(_OPENERS)[:1].islower():
            continue
        count += _has_word(sentence)
        start = match.end()
    return count


def _has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _canonical(match: re.Match[str]) -> str:
    """Sign and digits, without separators and needless zeros."""
    whole = match["whole"].replace(",", "").lstrip("0") or "0"
    decimals = (match["decimals"] or "").rstrip("0").rstrip(".")
    digits = whole + decimals
    negative = re.match(r"\s?(?:[-−]|[$€£][-−])", match["number"]) is not None
    return "-" + digits if negative and digits.strip("0.") else digits
