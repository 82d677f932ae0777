"""Held-out word problems: the share whose "The answer is N." names the right number.

The harness's exact match on the final number, in canonical form (``components.text.final_answer``). Sample item::

    {"id": "h1", "prompt": "Tom has 3 apples and buys 4. How many?", "answer": "7", "group": "unseen"}
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks._task import GenerationConfig, Scores, generation_task
from components.data.records import Record
from components.errors import InputError
from components.text import final_answer, number


class Config(GenerationConfig):
    """Greedy answers by default."""

    method: Literal["wordproblems"] = "wordproblems"
    max_new_tokens: int = Field(48, ge=1)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    return generation_task(config, inputs, score, ["accuracy"])


def score(row: Record, answer: str) -> Scores:
    """Accuracy of one answer: 1 if its final number equals the row's.

    >>> score({"answer": "1,037"}, " 1036 + 1 = 1037. The answer is 1037.")
    {'accuracy': 1.0, 'parsed': 1.0}
    >>> score({"answer": "7"}, "Tom has 7 apples.")
    {'accuracy': 0.0, 'parsed': 0.0}

    Raises:
        InputError: if the row's answer isn't a number.
    """
    if (right := number(row["answer"])) is None:
        raise InputError(f"held-out row {row.get('id')!r}: answer {row['answer']!r} is no number, which wordproblems compares")
    whole = re.sub(r"[\d.,]+$", "", answer) if getattr(answer, "truncated", False) else answer  # its number may go on
    found = final_answer(whole)
    return {"accuracy": float(found == right), "parsed": float(found is not None)}
