r"""MATH-500, competition mathematics (Hendrycks et al. 2021; the 500 items of Lightman et al. 2023).

The harness's ``hendrycks_math500``. ``accuracy`` is math-verify's, which knows that 0.5 is \frac{1}{2}; ``exact`` is the harness's
own match of strings. Both also by subject. The harness's ``minerva_math500`` can't be loaded beside llmcompressor: it wants another
release of antlr. Sample item::

    {"id": "test/precalculus/807.json", "group": "Precalculus", "problem": "…", "solution": "… \\boxed{3}", "answer": "3"}
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks import _harness
from components.benchmarks._aime import STEPS
from components.benchmarks._math import read, same
from components.benchmarks._source import Hub, Source, text
from components.benchmarks._task import MAIN, Grade, Graded, StoredConfig, stored_task
from components.data.records import Record


class Config(StoredConfig):
    """Step-by-step answers in a box by default; without ``cot`` the harness's own prompt."""

    method: Literal["math500"] = "math500"
    max_new_tokens: int = Field(2048, ge=1)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    settings = _harness.load("hendrycks_math/hendrycks_math500.yaml")
    steps = f"\n{STEPS}" if config.cot else ""
    fields = {
        **_harness.prompts(settings),
        "process_docs": None,  # it cuts the answer out of the solution; items have it
        "doc_to_text": lambda row: f"Problem: {row['problem']}{steps}\nAnswer:",
        "doc_to_target": lambda row: row["answer"],
        "fewshot_config": {"doc_to_target": lambda row: row["solution"]},
    }
    return stored_task(config, inputs, grader(settings), (MAIN, "exact"), until=_harness.until(settings), **fields)


def grader(settings: dict[str, Any]) -> Grade:
    """Grades one answer with math-verify and with the harness's ``process_results``."""
    score = settings["process_results"]

    def grade(row: Record, answer: str) -> Graded:
        exact = score(row, [str(answer)])["exact_match"]
        return Graded({MAIN: float(same(row["answer"], answer)), "exact": float(exact)}, read(answer))

    return grade


def _item(row: Record) -> Record:
    solution = text(row, "solution")
    if "\\boxed" not in solution and "\\fbox" not in solution:
        raise ValueError("'solution' has no \\boxed answer")
    name = row.get("unique_id")
    return {
        "id": None if name is None else str(name),
        "group": text(row, "subject", "type"),
        "problem": text(row, "problem"),
        "solution": solution,
        "answer": text(row, "answer"),
    }


SOURCE = Source(
    item=_item,
    sample={
        "problem": "What is $1 + 1$?",
        "solution": "It is $\\boxed{2}$.",
        "answer": "2",
        "subject": "Algebra",
        "level": 1,
        "unique_id": "test/algebra/1.json",
    },
    about="test.jsonl of https://huggingface.co/datasets/HuggingFaceH4/MATH-500",
    licence="MIT",
    size=500,
    hub=Hub("HuggingFaceH4/MATH-500", "test"),
)
