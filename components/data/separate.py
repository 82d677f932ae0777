"""Removes duplicates inside a split and keeps training splits apart from the held-out one, by normalised text.

Normalised: NFKC, case folded, runs of white space one space. A training row leaks when one of its texts *is* a held-out
prompt word by word, whatever quotation marks and punctuation of sentences stand between, or *holds* one of at least ``LONG``
tokens as a run of whole words: a corpus row that quotes a held-out problem leaks as well. Shorter prompts ("Hi") stand inside
unrelated text by chance, so there equality counts. A held-out question isn't held by a longer one that goes on behind its words
("… pick fights?", "… pick fights or arguments?").
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from components.artifacts import RecordKind
from components.data.records import FIELDS, Record

LONG = 8
_FIRST = 5
_TOKEN = re.compile(r"\w+|[^\w\s]")
# A full stop before or between digits, a colon or comma between them, belong to a number; signs such as + and % are words.
_WORD = re.compile(r"""\.?\d+(?:[.,:]\d+)*|\w+|[^\w\s.,;:!?…"'`´“”„‘’‚«»¿¡。、]""")
_BREAK = re.compile(r"[^\S\n]*(?:$|\n|[^\w\s])")
_SAME = {**dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff")), **dict.fromkeys(map(ord, "‐‑‒–—−"), "-")}


@lru_cache(maxsize=64)  # one row's texts are asked for three times in a row
def normalised(text: str) -> str:
    r"""NFKC, case folded, white space collapsed.

    >>> normalised("  Ｔom  has\u00a02\n APPLES ")
    'tom has 2 apples'
    """
    return " ".join(_folded(text).split())


def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text.casefold()


def words(text: str) -> list[str]:
    r"""The words, numbers and signs of a text, without what people quote, type and break lines with in different ways.

    >>> words("What’s 2.5+3, Zoe\u0301?") == words("what's 2.5 + 3 ZOÉ") == ["what", "s", "2.5", "+", "3", "zoé"]
    True
    """
    plain = _plain(text)
    return _WORD.findall(plain) or [plain]


def _plain(text: str) -> str:
    """Folded, without invisible characters and with one kind of dash; lines stay."""
    return _folded(text).translate(_SAME).strip()


def identity(row: Record, kind: RecordKind) -> str:
    """The normalised text by which two rows of a kind are the same; for prompts that is the prompt alone."""
    if kind == "prompts":
        return normalised(row["prompt"])
    return "\x00".join(normalised(text) for text in texts(row, kind))


def row_id(row: Record, kind: RecordKind) -> str:
    """An id that follows from what is asked (prompt, first message or text), so that a changed answer keeps it."""
    asked = row["messages"][0]["content"] if "messages" in row else row["text" if kind == "text" else "prompt"]
    return hashlib.sha256(normalised(whole(asked)).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def whole(prompt: str | list[dict[str, str]]) -> str:
    """A prompt as one text: a question, or a conversation's messages one below the other."""
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


def texts(row: Record, kind: RecordKind) -> Iterator[str]:
    """The texts of a row that a model may be trained on, without the answer of a prompt."""
    if kind == "sft" and "messages" in row:
        yield from (message["content"] for message in row["messages"])
    elif kind == "prompts":
        yield row["prompt"]
    else:
        if isinstance(row.get("prompt"), list):
            yield from (message["content"] for message in row["prompt"])
        yield from (whole(row[field]) for field in FIELDS[kind])


def asked(row: Record, kind: RecordKind) -> Iterator[str]:
    """What a held-out row asks: the texts that no training row may hold.

    Of a conversation that is all of it, and its last question if that is long: a short one ("Really?") asks nothing by itself.
    """
    if kind == "sft" and "messages" in row:
        yield str(next((m["content"] for m in row["messages"] if m["role"] == "user"), row["messages"][0]["content"]))
        return
    prompt = row["text" if kind == "text" else "prompt"]
    yield whole(prompt)
    questions = [message["content"] for message in prompt if message["role"] == "user"] if isinstance(prompt, list) else []
    if questions and len(_TOKEN.findall(normalised(questions[-1]))) >= LONG:
        yield questions[-1]


@dataclass(frozen=True)
class HeldOut:
    """Held-out prompts as words: all of them, and the long ones by their first words and their number of words.

    Attributes:
        runs: first words → number of words → words → whether punctuation ends them, so that a text which holds them has a
            break there as well.
    """

    exact: frozenset[tuple[str, ...]]
    runs: dict[tuple[str, ...], dict[int, dict[tuple[str, ...], bool]]]

    @classmethod
    def of(cls, prompts: Iterable[str]) -> HeldOut:
        """Indexes held-out prompts."""
        exact, runs = set(), dict[tuple[str, ...], dict[int, dict[tuple[str, ...], bool]]]()
        for prompt in prompts:
            exact.add(found := tuple(words(prompt)))
            if len(found) >= _FIRST and len(_TOKEN.findall(normalised(prompt))) >= LONG:
                same = runs.setdefault(found[:_FIRST], {}).setdefault(len(found), {})
                same[found] = not _plain(prompt).endswith(found[-1]) and same.get(found, True)
        return cls(frozenset(exact), runs)

    def leaks_into(self, row: Record, kind: RecordKind) -> bool:
        """Whether a training row is or holds a held-out prompt."""
        return any(self._in(text) for text in texts(row, kind))

    def _in(self, text: str) -> bool:
        found = tuple(words(text))
        if found in self.exact:
            return True
        if not self.runs:
            return False
        for start, first in enumerate(zip(*(found[i:] for i in range(_FIRST)), strict=False)):
            for length, runs in self.runs.get(first, {}).items():
                ends = runs.get(found[start : start + length])
                if ends is False or (ends and _breaks_behind(text, start + length)):
                    return True
        return False


def _breaks_behind(text: str, count: int) -> bool:
    """Whether the text ends, or has punctuation or the end of a line, behind so many of its words."""
    plain = _plain(text)
    last = next(itertools.islice(_WORD.finditer(plain), count - 1, None))
    return _BREAK.match(plain, last.end()) is not None
