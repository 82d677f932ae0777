r"""AIME 2025: thirty problems, each with a whole number as its answer; see ``components.benchmarks._aime``.

Thirty items say little: the interval of a single run spans a third of the scale. Set ``n`` and ``temperature`` for avg@n, pass@k
and maj@k. Sample item: ``{"id": "2025-I-1", "group": null, "problem": "…", "answer": "204"}``
"""

from __future__ import annotations

from typing import Any, Literal

from components.artifacts import Inputs
from components.benchmarks import _aime
from components.benchmarks._source import Hub


class Config(_aime.AimeConfig):
    """Settings of AIME 2025."""

    method: Literal["aime25"] = "aime25"


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    return _aime.task(config, inputs, "aime/aime25.yaml", "problem")


SOURCE = _aime.source(2025, "problem", Hub("math-ai/aime25", "test"))
