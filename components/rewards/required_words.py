"""Share of the row's ``words`` that the answer holds as whole words, whatever their case."""

from __future__ import annotations

from typing import Any, Literal

from components.config import MethodConfig
from components.errors import InputError
from components.text import holds_word


class Config(MethodConfig):
    """The reward's weight in the sum."""

    method: Literal["required_words"] = "required_words"
    weight: float = 1.0


def score(config: Config, completion: str, row: dict[str, Any]) -> float:
    """Between 0.0 and 1.0.

    >>> score(Config(), "The Dog saw a cat.", {"words": ["dog", "bird"]})
    0.5

    Raises:
        InputError: if the row has none.
    """
    words = row.get("words")
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise InputError(
            f"prompt row {row.get('id')!r} has words={words!r}; reward required_words needs a list of words in every prompt row"
        )
    return sum(holds_word(completion, word) for word in words) / len(words)
