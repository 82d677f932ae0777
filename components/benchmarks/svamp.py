"""SVAMP: one-step word problems, varied so that surface patterns don't solve them (Patel et al. 2021, arXiv:2103.07191).

The harness has no task of it; this one reads the answer as its GSM8K does (the last number) and compares it as a number. By kind of
operation. Sample item::

    {"id": "chal-777", "group": "Common-Division", "question": "There are 87 oranges … How big is each group?", "answer": "145"}
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks import _harness
from components.benchmarks._source import Hub, Source, text
from components.benchmarks._task import MAIN, Grade, Graded, StoredConfig, stored_task
from components.data.records import Record
from components.text import number


class Config(StoredConfig):
    """Greedy step-by-step answers without examples by default."""

    method: Literal["svamp"] = "svamp"
    max_new_tokens: int = Field(256, ge=1)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    steps = " Let's think step by step." if config.cot else ""
    return stored_task(
        config,
        inputs,
        grader(),
        (MAIN,),
        until=["Question:"],
        doc_to_text=lambda row: f"Question: {row['question']}\nAnswer:{steps}",
        doc_to_target=lambda row: row["answer"],
        fewshot_config={"doc_to_target": lambda row: f"The answer is {row['answer']}."},
    )


def grader() -> Grade:
    """Grades one answer by its last number."""
    extract = _harness.extractors(_harness.load("gsm8k/gsm8k.yaml"))["flexible-extract"]

    def grade(row: Record, answer: str) -> Graded:
        found = number(extract(answer, row).replace("$", "").rstrip(".,"))
        return Graded({MAIN: float(found is not None and found == row["answer"])}, found)

    return grade


def _item(row: Record) -> Record:
    answer = number(text(row, "Answer", "answer"))
    if answer is None:
        raise ValueError(f"'Answer' is {row.get('Answer')!r}, expected a number")
    body, question = text(row, "Body", "body").strip(), text(row, "Question", "question").strip()
    name = row.get("ID", row.get("id"))
    return {
        "id": None if name is None else str(name),
        "group": row.get("Type") or None,
        "question": f"{body}{'' if body.endswith(('.', '?', '!')) else '.'} {question}",
        "answer": answer,
    }


SOURCE = Source(
    item=_item,
    sample={"ID": "chal-1", "Body": "Tom has 3 apples", "Question": "He buys 4. How many?", "Answer": 7.0, "Type": "Addition"},
    about="SVAMP.json of https://github.com/arkilpatel/SVAMP (JSON, JSONL or CSV)",
    licence="MIT",
    size=1000,
    hub=Hub("ChilleD/SVAMP", "test", examples="train"),
)
