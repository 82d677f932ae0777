r"""Words of a text and their hashes, for millions of words a second and without a loop over them.

A word is a run of letters and digits after NFKC and case folding, so that markup, punctuation and white space don't count. CJK
characters are words of their own, because nothing stands between them.

Hashes are polynomial: with prefix sums over bytes, then over words, the hash of every run of n words takes a few array
operations (Karp and Rabin 1987). They only find candidates: whoever claims a match compares the words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
WORD = re.compile(r"[^\W_]+")
CJK = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])")
_OTHER = re.compile(r"[^\w\x00-\x7f]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_UNITS = {
    "two": 2, "three": 3, "third": 3, "four": 4, "fourth": 4, "five": 5, "fifth": 5, "six": 6, "sixth": 6, "seven": 7,
    "seventh": 7, "eight": 8, "eighth": 8, "nine": 9, "ninth": 9, "ten": 10, "tenth": 10, "eleven": 11, "eleventh": 11,
    "twelve": 12, "twelfth": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90
}  # fmt: skip
_BEHIND = {"one": 1, "first": 1, "second": 2}
_SPELT = re.compile(rf"\b(?:({'|'.join(_TENS)})(?:[ -]({'|'.join([*_UNITS, *_BEHIND])}))?|({'|'.join(_UNITS)}))\b")
_BASE, _WORD_BASE = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_IS_WORD = np.zeros(256, bool)
_IS_WORD[[*b"0123456789abcdefghijklmnopqrstuvwxyz", *range(128, 256)]] = True
_FILTER_BITS = 22


def prepared(text: str) -> str:
    """The text as it is compared: NFKC, case folded, and nothing but ASCII beside letters and digits.

    >>> prepared("Ｔom’s ½")
    'tom s 1 2'
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return CJK.sub(r" \1 ", _OTHER.sub(" ", text))


def words(text: str) -> list[str]:
    r"""Words of a text.

    >>> words("Simplify $\\sqrt{242}$.")
    ['simplify', 'sqrt', '242']
    """
    return WORD.findall(prepared(text))


def numbers(text: str) -> list[str]:
    """Numbers of a text in their order, thousands separators and needless zeros left out; then those that are spelt out.

    >>> numbers("1,234 apples at $2.50 in x_1"), numbers("Twenty-one of the 5 days, the third of 4")
    (['1234', '2.5', '1'], ['5', '4', '21', '3'])
    """
    found = prepared(text)
    return [_canonical(number) for number in _NUMBER.findall(found)] + _spelt(found)


def needed(text: str) -> Counter[str]:
    """Numbers that another text has to have to say the same: those in digits as often, those that are spelt out once.

    >>> sorted(needed("Two offers of 5 and 5: which of the two is better?").items())
    [('2', 1), ('5', 2)]
    """
    found = prepared(text)
    return Counter(map(_canonical, _NUMBER.findall(found))) | Counter(set(_spelt(found)))


def has_numbers(text: str, wanted: Counter[str]) -> bool:
    """Whether a text has all of some numbers, each as often. An item with other numbers is another item.

    >>> has_numbers("3 apples and 4 pears", Counter(["4"])), has_numbers("3 apples", Counter(["3", "3"]))
    (True, False)
    """
    return not wanted or wanted <= Counter(numbers(text))


def _spelt(text: str) -> list[str]:
    """Numbers in words, from two on: "one" and "second" are more often no number."""
    return [str(_TENS.get(ten, 0) + (_UNITS | _BEHIND).get(behind or alone, 0)) for ten, behind, alone in _SPELT.findall(text)]


def _canonical(number: str) -> str:
    whole, point, decimals = number.rpartition(".")
    if not point or "," in decimals:
        whole, decimals = number, ""
    whole, decimals = whole.replace(",", "").replace(".", "").lstrip("0") or "0", decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


@dataclass(frozen=True)
class Words:
    """Words of several texts, one after another.

    Attributes:
        hashes: uint64 of each word.
        text: which text each word stands in, ascending.
        starts: the first word of each text, and the number of all words behind the last.
    """

    hashes: Array
    text: Array
    starts: Array

    def runs(self, n: int) -> tuple[Array, Array]:
        """(hashes, first words) of all runs of ``n`` words that lie in one text."""
        count = len(self.hashes) - n + 1
        if count <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        found = run_hashes(self.hashes, n)
        first = np.flatnonzero(self.text[:count] == self.text[n - 1 :])
        return found[first], first


def of(texts: Sequence[str]) -> Words:
    """Hashes of the words of texts; ``texts`` have been ``prepared``."""
    data = "\n".join(texts).encode("utf-8", "replace")
    ends_at = np.cumsum([len(t) if t.isascii() else len(t.encode("utf-8", "replace")) for t in texts]) + np.arange(len(texts))
    buffer = np.frombuffer(data, np.uint8)
    inside = np.zeros(len(buffer) + 2, bool)
    inside[1:-1] = _IS_WORD[buffer]
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[::2], edges[1::2]
    power, inverse = _powers(_ceiling(len(buffer) + 1))
    sums = np.zeros(len(buffer) + 1, np.uint64)
    np.cumsum(buffer.astype(np.uint64) * power[: len(buffer)], out=sums[1:])
    hashes = _mixed((sums[ends] - sums[starts]) * inverse[starts] + (ends - starts).astype(np.uint64))
    text = np.searchsorted(ends_at, starts, side="right").astype(np.int32)
    return Words(hashes, text, np.searchsorted(text, np.arange(len(texts) + 1)))


def run_hashes(hashes: Array, n: int) -> Array:
    """Hash of every run of ``n`` values, by Horner's rule: n is small, and additions of whole arrays are cheap."""
    count = len(hashes) - n + 1
    found = hashes[:count].copy()
    for offset in range(1, n):
        found *= np.uint64(_WORD_BASE)
        found += hashes[offset : offset + count]
    return _mixed(found)


def _mixed(values: Array) -> Array:
    """Spreads the weak low bits of a polynomial modulo 2^64 (the finaliser of SplitMix64)."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _ceiling(size: int) -> int:
    return 1 << max(10, (size - 1).bit_length())


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[Array, Array]:
    """(base**i, base**-i) modulo 2^64 for i below ``size``."""
    base, inverse = _BASE, pow(_BASE, -1, 1 << 64)
    found = []
    for value in (base, inverse):
        powers = np.full(size, value, np.uint64)
        powers[0] = 1
        found.append(np.cumprod(powers, dtype=np.uint64))
    return found[0], found[1]


class Lookup:
    """Which values of a large array stand in a small set, and where there.

    Most values of a corpus stand in no benchmark: a table of bits sends them away before the sorted set is asked.
    """

    def __init__(self, values: Array) -> None:
        self.values = np.unique(values)
        self._shift = np.uint64(64 - _FILTER_BITS)
        self._table = np.zeros(1 << _FILTER_BITS, bool)
        self._table[self.values >> self._shift] = True

    def find(self, hashes: Array) -> tuple[Array, Array]:
        """(positions in ``hashes`` that are known, their index in ``values``)."""
        near = np.flatnonzero(self._table[hashes >> self._shift])
        if not len(near) or not len(self.values):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        index = np.minimum(np.searchsorted(self.values, hashes[near]), len(self.values) - 1)
        same = self.values[index] == hashes[near]
        return near[same], index[same]


class Owners(Lookup):
    """A ``Lookup`` of values that somebody owns: items by what stands in them.

    Args:
        values: some may stand there several times.
        owners: of each of them, from 0.
    """

    def __init__(self, values: Array, owners: Array) -> None:
        super().__init__(values)
        order = np.argsort(values, kind="stable")
        self.owners: Array = owners[order]
        self._starts = np.searchsorted(values[order], self.values)
        self._counts = np.diff(np.append(self._starts, len(order)))

    def of(self, hashes: Array) -> tuple[Array, Array, Array]:
        """(position in ``hashes``, owner, index of the value), one for each owner of what is known, by position."""
        position, value = self.find(hashes)
        counts = self._counts[value]
        known = np.repeat(value, counts)
        offset = np.arange(len(known)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(position, counts), self.owners[self._starts[known] + offset], known
