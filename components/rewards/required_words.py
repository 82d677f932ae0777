"""Share of the row's ``words`` that the answer holds as whole words, whatever their case."""

from __future__ import annotations

from typing import Any, Literal

from components.config import MethodConfig
from components.text import holds_word


class Config(MethodConfig):
    """The reward's weight in the sum."""

    method: Literal["required_words"] = "required_words"
    weight: float = 1.0


def score(config: Config, completion: str, row: dict[str, Any]) -> float:
    """Between 0.0 and 1.0.

    >>> score(Config(), "The Dog saw a cat.", {"words": ["dog", "bird"]})
    0.5
    """
    words = row["words"]
    return sum(holds_word(completion, word) for word in words) / len(words)
