"""MMLU-Pro: questions of 14 subjects with up to ten options (Wang et al. 2024, arXiv:2406.01574), by the harness's own tasks.

``accuracy`` is the harness's: what names no answer is wrong. ``official`` is the rule of the benchmark's authors, with two more
patterns and a guess where none is found; published scores are by that rule. Both also by subject. Sample item::

    {"id": "1986", "group": "psychology", "question": "…", "options": ["…", "…"], "answer": "E", "category": "psychology"}
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks import _mmlu_pro
from components.benchmarks._choices import ChoiceConfig
from components.benchmarks._source import Hub, Source


class Config(ChoiceConfig):
    """Step-by-step answers without examples by default; published scores have ``shots: 5``, by subject."""

    by_group: ClassVar[bool] = True
    method: Literal["mmlu_pro"] = "mmlu_pro"
    max_new_tokens: int = Field(2048, ge=1)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    return _mmlu_pro.task(config, inputs, tokenizer, "mmlu_pro/mmlu_pro_{}.yaml", lambda row, found: {}, [])


SOURCE = Source(
    item=_mmlu_pro.item,
    sample={"question_id": 7, "question": "{{ 1 + 1 }}? \u2028", "options": ["1", "2"], "answer": "B", "category": "math"},
    about="the test split (and the validation split as examples) of https://huggingface.co/datasets/TIGER-Lab/MMLU-Pro",
    licence="MIT",
    size=12032,
    hub=Hub("TIGER-Lab/MMLU-Pro", "test", revision="527feea0afed1de15a8c115abf7be4c912123315", examples="validation"),
)
