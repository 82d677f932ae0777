"""Whole sentences: half for ending the last one, half for having enough of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from components.config import MethodConfig
from components.text import ends_sentence, sentence_count


class Config(MethodConfig):
    """How many sentences are enough."""

    method: Literal["sentences"] = "sentences"
    weight: float = 1.0
    least: int = Field(4, ge=1)


def score(config: Config, completion: str, row: dict[str, Any]) -> float:
    """0.0, 0.5 or 1.0.

    >>> score(Config(least=2), "He ran. She sat.", {}), score(Config(least=2), "He ran. She sat. Then", {})
    (1.0, 0.5)
    """
    return (ends_sentence(completion) + (sentence_count(completion) >= config.least)) / 2
