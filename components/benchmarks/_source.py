"""What a benchmark's stored items are: how a published row becomes an item, and how somebody gets the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.data.records import Record


@dataclass(frozen=True)
class Hub:
    """A dataset of the hub at one commit.

    Attributes:
        revision: 40 hex digits; None asks the user for it, because a branch would move.
        examples: split that holds solved examples.
    """

    id: str
    split: str
    revision: str | None = None
    config: str | None = None
    examples: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a benchmark's data comes from.

    Attributes:
        item: a row as published → an item as the task reads it, with ``id`` (text, or None to number it) and ``group``. A missing
            field is a ``KeyError`` of its name, a wrong value a ``ValueError`` that says what is expected.
        sample: a row as published.
        about: what the file is and where it is to be had, for whoever lacks it.
        licence: its terms, in a word.
        size: items of the whole benchmark: fewer are said beside every score.
        example: the same for a row of solved examples, if they look different.
        hub: where the hub has it.
        protected: whether its authors ask not to have it in plain text.
    """

    item: Callable[[Record], Record]
    sample: Record
    about: str
    licence: str
    size: int | None = None
    example: Callable[[Record], Record] | None = None
    hub: Hub | None = None
    protected: bool = False


def text(row: Record, *names: str) -> str:
    """The first of a row's fields that is there, as text.

    Raises:
        KeyError: with the first name, if none is.
        ValueError: if it is blank or no text.
    """
    name = next((n for n in names if row.get(n) is not None), None)
    if name is None:
        raise KeyError(names[0])
    value: Any = row[name]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 145.0 is written 145
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name!r} is {value!r}, expected text that isn't blank")
    return value


def choices(row: Record, *names: str, least: int = 2, most: int = 26) -> list[str]:
    """The first of a row's fields that is there, as a list of options.

    Raises:
        KeyError: with the first name, if none is.
        ValueError: if it is no list of texts, or a shorter or longer one.
    """
    name = next((n for n in names if row.get(n) is not None), None)
    if name is None:
        raise KeyError(names[0])
    value = row[name]
    if not isinstance(value, list) or not all(isinstance(option, (str, int, float)) for option in value):
        raise ValueError(f"{name!r} is {str(value)[:60]!r}, expected a list of options")
    if not least <= len(value) <= most:
        raise ValueError(f"{name!r} has {len(value)} options, expected {least} to {most}")
    return [str(option) for option in value]


def letter(row: Record, options: list[str], *names: str) -> str:
    """The right option's letter: given as a letter, as an index from 0, or as the option's text.

    Raises:
        KeyError, ValueError: if it isn't there or names none of the options.
    """
    value = next((row[n] for n in names if row.get(n) is not None), None)
    if value is None:
        raise KeyError(names[0])
    letters = [chr(ord("A") + i) for i in range(len(options))]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(options):
        return letters[value]
    if isinstance(value, str) and value.strip().upper().strip("()") in letters:
        return value.strip().upper().strip("()")
    if isinstance(value, str) and options.count(value) == 1:
        return letters[options.index(value)]
    raise ValueError(f"{names[0]!r} is {value!r}, expected a letter from A to {letters[-1]}")
