"""Verifiable reward: 1 if the answer's final number equals the row's ``answer``, checked by math-verify; else 0."""

from __future__ import annotations

from typing import Any, Literal

from components.config import MethodConfig
from components.text import final_answer


class Config(MethodConfig):
    """The reward's weight in the sum."""

    method: Literal["exact_answer"] = "exact_answer"
    weight: float = 1.0


def score(config: Config, completion: str, row: dict[str, Any]) -> float:
    """1.0 or 0.0.

    >>> score(Config(), "3 + 4 = 7. The answer is 7.", {"answer": "7"})
    1.0
    >>> score(Config(), "The answer is 7.0.", {"answer": "7"})
    1.0
    >>> score(Config(), "7", {"answer": "7"})
    0.0
    """
    from math_verify import parse, verify

    found = final_answer(completion)
    if found is None:
        return 0.0
    if found == str(row["answer"]).strip():
        return 1.0
    return float(verify(parse(str(row["answer"])), parse(found)))
