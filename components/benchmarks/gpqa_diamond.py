"""GPQA, the diamond set of 198 questions; see ``components.benchmarks._gpqa``.

``accuracy`` takes the last option that an answer names, ``strict`` what stands behind "The answer is". Sample item::

    {"id": "rec0", "group": "Physics", "Question": "…", "choice1": "…", …, "choices": ["…"], "answer": "(B)"}
"""

from __future__ import annotations

from typing import Any, Literal

from components.artifacts import Inputs
from components.benchmarks import _gpqa


class Config(_gpqa.GpqaConfig):
    """Settings of GPQA diamond."""

    method: Literal["gpqa_diamond"] = "gpqa_diamond"


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    return _gpqa.task(config, inputs, tokenizer, "diamond")


SOURCE = _gpqa.source("diamond", 198)
