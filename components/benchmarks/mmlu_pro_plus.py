"""MMLU-Pro+: MMLU-Pro with an option that says two others are both right (Taghanaki et al. 2024, arXiv:2409.02257).

Beside ``accuracy`` and ``official`` of MMLU-Pro, over the items that have such an option:

- ``shortcut``: where both are right, the share that stays with one of the two alone, as MMLU-Pro had it (shortcut selection rate);
- ``correct_pair``: where both are right, the share that says so;
- ``false_pair``: where they aren't, the share that says so all the same.

Sample item::

    {"id": "7", "group": "math", "question": "…", "options": ["2", "two", "3", "Both A and B are correct"], "answer": "D"}
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks import _mmlu_pro
from components.benchmarks._choices import LETTERS, ChoiceConfig
from components.benchmarks._source import Hub, Source
from components.benchmarks._task import Scores
from components.data.records import Record

_PAIR = re.compile(r"^\W*both\b(?P<pair>.*)\band\b(?P<other>.*)$", re.IGNORECASE | re.DOTALL)
_LETTER = re.compile(r"(?<![A-Za-z])(?:option\s+)?\(?([A-P])\)?(?![A-Za-z])")


class Config(ChoiceConfig):
    """Step-by-step answers without examples by default; the paper's scores have ``shots: 5``, by subject."""

    by_group: ClassVar[bool] = True
    method: Literal["mmlu_pro_plus"] = "mmlu_pro_plus"
    max_new_tokens: int = Field(2048, ge=1)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    file = "mmlu-pro-plus/mmlu_pro_plus_{}.yaml"
    return _mmlu_pro.task(config, inputs, tokenizer, file, pair_scores, ["shortcut", "correct_pair", "false_pair"])


def pair_scores(row: Record, found: str | None) -> Scores:
    """The rates that an item counts for, from the letter that was read.

    >>> row = {"options": ["2", "two", "3", "Both A and B are correct"], "answer": "D"}
    >>> pair_scores(row, "D"), pair_scores(row, "A"), pair_scores(row, "C")
    ({'shortcut': 0.0, 'correct_pair': 1.0}, {'shortcut': 1.0, 'correct_pair': 0.0}, {'shortcut': 0.0, 'correct_pair': 0.0})
    >>> pair_scores({**row, "answer": "A"}, "D"), pair_scores({"options": ["1", "2"], "answer": "A"}, "A")
    ({'false_pair': 1.0}, {})
    """
    pairs = {LETTERS[i]: named for i, option in enumerate(row["options"]) if (named := _pair(option, row["options"]))}
    if row["answer"] in pairs:
        return {"shortcut": float(found in pairs[row["answer"]]), "correct_pair": float(found == row["answer"])}
    return {"false_pair": float(found in pairs)} if pairs else {}


def _pair(option: str, options: list[str]) -> set[str]:
    """Letters of the two options that an option says are both right; it names them by letter or by their text."""
    match = _PAIR.match(option)
    if match is None:
        return set()
    named = {letter for part in match.groups() for letter in _LETTER.findall(part)[:1]}
    if len(named) == 2:
        return named
    inside = {LETTERS[i] for i, other in enumerate(options) if other != option and other.strip() and other.strip() in option}
    return inside if len(inside) >= 2 else set()


SOURCE = Source(
    item=_mmlu_pro.item,
    sample={
        "question_id": 7,
        "question": "1 + 1?",
        "options": ["2", "two", "3", "Both A and B are correct"],
        "answer": "D",
        "category": "math",
    },
    about="the test split (and the validation split as examples) of https://huggingface.co/datasets/saeidasgari/mmlu-pro-plus",
    licence="MIT",
    hub=Hub("saeidasgari/mmlu-pro-plus", "test", examples="validation"),
)
