"""1 if the whole answer has the form that was asked for, else 0: a regular expression over the stripped text."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import field_validator

from components.config import MethodConfig


class Config(MethodConfig):
    """The pattern that the whole answer must match (``re.DOTALL``)."""

    method: Literal["format"] = "format"
    weight: float = 1.0
    pattern: str = r".*The answer is -?[\d,.]*\d\."

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"isn't a regular expression: {error}") from error
        return value


def score(config: Config, completion: str, row: dict[str, Any]) -> float:
    """1.0 or 0.0.

    >>> score(Config(), " 3 + 4 = 7. The answer is 7.", {})
    1.0
    >>> score(Config(), "The answer is 7. The answer", {})
    0.0
    """
    return float(re.fullmatch(config.pattern, completion.strip(), re.DOTALL) is not None)
