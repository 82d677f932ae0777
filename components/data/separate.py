"""Removes duplicates inside a split and keeps training splits apart from the held-out one, by normalised text.

Normalised: NFKC, case folded, runs of white space one space. A training row leaks when one of its texts *is* a
held-out prompt, or *holds* one of at least ``LONG`` tokens as a run of whole tokens: a corpus row that quotes a
held-out problem leaks as well. Shorter prompts ("Hi") stand inside unrelated text by chance, so there equality counts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from components.artifacts import RecordKind
from components.data.records import FIELDS, Record

LONG = 8
_TOKEN = re.compile(r"\w+|[^\w\s]")


@lru_cache(maxsize=64)  # one row's texts are asked for three times in a row
def normalised(text: str) -> str:
    r"""NFKC, case folded, white space collapsed.

    >>> normalised("  Ｔom  has\u00a02\n APPLES ")
    'tom has 2 apples'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.casefold().split())


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
    """Held-out prompts, indexed by normalised text and by the first tokens of the long ones."""

    exact: frozenset[str]
    runs: dict[tuple[str, ...], list[tuple[str, ...]]]

    @classmethod
    def of(cls, prompts: Iterable[str]) -> HeldOut:
        """Indexes held-out prompts."""
        exact, runs = set(), dict[tuple[str, ...], list[tuple[str, ...]]]()
        for prompt in prompts:
            exact.add(normal := normalised(prompt))
            tokens = tuple(_TOKEN.findall(normal))
            if len(tokens) >= LONG:
                runs.setdefault(tokens[:LONG], []).append(tokens)
        return cls(frozenset(exact), runs)

    def leaks_into(self, row: Record, kind: RecordKind) -> bool:
        """Whether a training row is or holds a held-out prompt."""
        return any(self._in(text) for text in texts(row, kind))

    def _in(self, text: str) -> bool:
        normal = normalised(text)
        if normal in self.exact:
            return True
        if not self.runs:
            return False
        tokens = _TOKEN.findall(normal)
        if self.runs.keys().isdisjoint(zip(*(tokens[i:] for i in range(LONG)), strict=False)):
            return False
        for start in range(len(tokens) - LONG + 1):
            for run in self.runs.get(tuple(tokens[start : start + LONG]), ()):
                if tuple(tokens[start : start + len(run)]) == run:
                    return True
        return False
