"""GPQA, graduate-level questions that a search doesn't answer (Rein et al. 2023, arXiv:2311.12022), by the harness's own tasks.

Its authors ask not to reveal the questions in plain text or images online, so that they don't get into training data: the items
are veiled where they are stored, with their canary; evaluated items name their prompts by hash; a file that git would commit isn't
imported; and nothing of them is in this repository.
"""

from __future__ import annotations

import random
from typing import Any

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks import _harness
from components.benchmarks._choices import ChoiceConfig, likelihood_task
from components.benchmarks._source import Hub, Source, text
from components.benchmarks._task import MAIN, Grade, Graded, stored_task
from components.data.records import Record

_LABELS = ("(A)", "(B)", "(C)", "(D)")


class GpqaConfig(ChoiceConfig):
    """Step-by-step answers without examples by default."""

    max_new_tokens: int = Field(2048, ge=1)


def task(config: GpqaConfig, inputs: Inputs, tokenizer: Any, subset: str) -> dict[str, Any]:
    """The harness's task config."""
    if config.form == "likelihood":
        settings = _harness.load(f"gpqa/zeroshot/gpqa_{subset}_zeroshot.yaml")
        fields = {**_harness.prompts(settings), "process_docs": None}
        return likelihood_task(
            config, inputs, tokenizer, labels=lambda row: _LABELS, right=lambda row: _LABELS.index(row["answer"]), **fields
        )
    kind = "cot_zeroshot" if config.cot else "generative"
    suffix = "cot_zeroshot" if config.cot else "generative_n_shot"
    settings = _harness.load(f"gpqa/{kind}/gpqa_{subset}_{suffix}.yaml")
    fields = {**_harness.prompts(settings), "process_docs": None}
    if config.shots == 0:
        fields.pop("description", None)  # it announces examples
    if config.shots:
        fields["fewshot_config"] = {"doc_to_target": lambda row: f"The answer is {row['answer']}."}
    return stored_task(config, inputs, grader(settings), (MAIN, "strict"), until=_harness.until(settings), **fields)


def grader(settings: dict[str, Any]) -> Grade:
    """Grades one answer by the filters and the exact match of the harness's task: *flexible-extract* and *strict-match*."""
    filters, match = _harness.extractors(settings), _harness.exact_match(settings)

    def grade(row: Record, answer: str) -> Graded:
        found = {name: extract(answer, row) for name, extract in filters.items()}
        last = found["flexible-extract"]
        scores = {MAIN: float(match(last, row["answer"])), "strict": float(match(found["strict-match"], row["answer"]))}
        return Graded(scores, None if last == _harness.INVALID else last)

    return grade


def item(row: Record) -> Record:
    """A published row as an item. The order of its options follows from its id alone, so every model sees the same one."""
    question, right = text(row, "Question"), _clean(text(row, "Correct Answer"))
    options = [_clean(text(row, f"Incorrect Answer {i}")) for i in (1, 2, 3)] + [right]
    name = str(row.get("Record ID") or question)
    random.Random(name).shuffle(options)
    return {
        "id": None if row.get("Record ID") is None else str(row["Record ID"]),
        "group": row.get("High-level domain"),
        "Question": question,
        **{f"choice{i}": option for i, option in enumerate(options, 1)},
        "choices": options,
        "answer": _LABELS[options.index(right)],
        "canary": str(row.get("Canary String") or ""),  # goes where the question goes
    }


def _clean(option: str) -> str:
    """The harness's ``preprocess``, for an option that is there."""
    return option.strip().replace(" [title]", ". ").replace("  ", " ")


def source(subset: str, size: int) -> Source:
    """Where a subset comes from."""
    return Source(
        item=item,
        sample={
            "Record ID": "rec0",
            "Question": "1 + 1?",
            "Correct Answer": "2",
            "Incorrect Answer 1": "1",
            "Incorrect Answer 2": "3",
            "Incorrect Answer 3": "4",
            "High-level domain": "Physics",
        },
        about=f"gpqa_{subset}.csv from dataset.zip of https://github.com/idavidrein/gpqa (its password stands beside it) or, after "
        "accepting its terms, from https://huggingface.co/datasets/Idavidrein/gpqa",
        licence="CC-BY-4.0, not to be shown in plain text online",
        size=size,
        hub=Hub("Idavidrein/gpqa", "train", config=f"gpqa_{subset}"),
        protected=True,
    )
