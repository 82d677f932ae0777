r"""AIME, competition problems whose answer is a whole number from 0 to 999, by the harness's own tasks."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks import _harness
from components.benchmarks._source import Hub, Source, text
from components.benchmarks._task import MAIN, Grade, Graded, StoredConfig, stored_task
from components.data.records import Record

STEPS = "Please reason step by step, and put your final answer within \\boxed{}."


class AimeConfig(StoredConfig):
    """The harness's own prompt by default; ``cot`` also asks for the steps and a boxed answer."""

    max_new_tokens: int = Field(32768, ge=1)
    cot: bool = False


def task(config: AimeConfig, inputs: Inputs, file: str, field: str) -> dict[str, Any]:
    """The harness's task config.

    Args:
        file: the harness's file.
        field: name of the problem's field in it.
    """
    settings = _harness.load(file)
    fields = _harness.prompts(settings)
    if config.cot:
        fields["doc_to_text"] = lambda row: f"Question: {row[field]}\n{STEPS}\nAnswer:"
    else:
        fields["doc_to_text"] = lambda row: f"Question: {row[field]}\nAnswer:"
    fields["doc_to_target"] = lambda row: row["answer"]
    fields["fewshot_config"] = {"doc_to_target": lambda row: f"\\boxed{{{row['answer']}}}"}
    return stored_task(config, inputs, grader(settings), (MAIN,), until=_harness.until(settings), **fields)


def grader(settings: dict[str, Any]) -> Grade:
    """Grades one answer with the harness's ``process_results``: the last box, else what stands between dollar signs."""
    from lm_eval.tasks.aime import utils

    score = settings["process_results"]

    def grade(row: Record, answer: str) -> Graded:
        found = score({"answer": row["answer"]}, [answer])
        return Graded({MAIN: float(found["exact_match"])}, _read(answer, utils))

    return grade


def _read(answer: str, utils: Any) -> str | None:
    """What the harness compares, or None where it would compare the whole answer, which is more than a number."""
    boxed = utils.last_boxed_only_string(answer)
    if boxed is not None and "{" in boxed:
        return str(utils.strip_string(boxed.partition("{")[2].rpartition("}")[0]))
    marks = [place for place, character in enumerate(answer) if character == "$"]
    if len(marks) > 1:
        return str(utils.strip_string(answer[marks[0] + 1 : marks[-1]]))
    return answer.strip() if re.fullmatch(r"\s*\d+\s*", answer) else None


def source(year: int, field: str, hub: Hub) -> Source:
    """Where a year's problems come from; ``field`` is what the harness calls a problem."""

    def item(row: Record) -> Record:
        name = next((str(row[key]) for key in ("ID", "id", "problem_idx") if row.get(key) is not None), None)
        problem, answer = text(row, "Problem", "problem", "question"), whole(text(row, "Answer", "answer"))
        return {"id": name, "group": None, field: problem, "answer": answer}

    return Source(
        item=item,
        sample={"ID": f"{year}-I-1", "Problem": "What is $1 + 1$?", "Answer": "002"},
        about=f"the problems of https://huggingface.co/datasets/{hub.id}",
        licence="problems by the MAA",
        size=30,
        hub=hub,
    )


def whole(value: str) -> str:
    """The answer as the harness writes it: no leading zeros.

    Raises:
        ValueError: if it is no whole number from 0 to 999.
    """
    if not re.fullmatch(r"\d{1,3}", value):
        raise ValueError(f"'answer' is {value!r}, expected a whole number from 0 to 999")
    return str(int(value))
