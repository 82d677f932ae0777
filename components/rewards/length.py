"""1 for an answer of a wished length in words, falling linearly to 0 outside it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from components.config import MethodConfig


class Config(MethodConfig):
    """Least and most words, and over how many words beyond them the reward falls to 0."""

    method: Literal["length"] = "length"
    weight: float = 1.0
    least: int = Field(1, ge=0)
    most: int = Field(200, ge=1)
    slack: int = Field(20, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if self.least > self.most:
            raise ValueError(f"least={self.least} is above most={self.most}")
        return self


def score(config: Config, completion: str, row: dict[str, Any]) -> float:
    """Between 0.0 and 1.0.

    >>> score(Config(least=2, most=4, slack=4), "one two three", {})
    1.0
    >>> score(Config(least=2, most=4, slack=4), "one two three four five six", {})
    0.5
    """
    words = len(completion.split())
    beyond = max(config.least - words, words - config.most, 0)
    return max(0.0, 1.0 - beyond / config.slack)
