"""What MMLU-Pro and MMLU-Pro+ share: items, the harness's prompts, the benchmark's own extraction."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from components.artifacts import Inputs
from components.benchmarks import _harness
from components.benchmarks._choices import LETTERS, ChoiceConfig, likelihood_task
from components.benchmarks._source import choices, letter, text
from components.benchmarks._task import MAIN, Graded, Scores, stored_task
from components.data.records import Record

_SUBJECT = "biology"  # whose file of the harness is read; its name is replaced by each item's
_STEPS = "Let's think step by step."
_GUESS_SEED = 12345


def task(
    config: ChoiceConfig, inputs: Inputs, tokenizer: Any, file: str, extra: Callable[[Record, str | None], Scores], names: list[str]
) -> dict[str, Any]:
    """The harness's task config.

    Args:
        file: the harness's file of one subject.
        extra: further scores, from the item and the letter that was read.
        names: of these scores.
    """
    settings = _harness.load(file.format(_SUBJECT))
    fields = _prompts(settings, config)
    if config.form == "likelihood":
        return likelihood_task(
            config,
            inputs,
            tokenizer,
            labels=lambda row: LETTERS[: len(row["options"])],
            right=lambda row: LETTERS.index(row["answer"]),
            extra=lambda row, chosen: extra(row, LETTERS[chosen]),
            metrics=names,
            **fields,
        )
    return stored_task(
        config, inputs, grader(settings, extra), (MAIN, "official", *names), until=_harness.until(settings), **fields
    )


def grader(settings: dict[str, Any], extra: Callable[[Record, str | None], Scores] = lambda row, found: {}) -> Any:
    """Grades one answer: ``accuracy`` by the harness's filter and match, ``official`` by the rule of the benchmark's authors."""
    (extract,) = _harness.extractors(settings).values()
    match = _harness.exact_match(settings)

    def grade(row: Record, answer: str) -> Graded:
        found = extract(answer, row)
        asked = answer or not getattr(answer, "truncated", False)  # a prompt that didn't fit earns no guess
        by_rule = asked and official(answer, len(row["options"])) == row["answer"]
        scores = {MAIN: float(match(found, row["answer"])), "official": float(bool(by_rule))}
        read = None if found == _harness.INVALID else found
        return Graded({**scores, **extra(row, read)}, read)

    return grade


def official(answer: str, options: int) -> str:
    """The letter by the authors' ``evaluate_from_local.py``: three patterns, then a guess from a generator seeded anew each time.

    >>> official("So the answer is (C).", 10), official("Answer: D", 10), official("It must be B, I think", 10)
    ('C', 'D', 'B')
    >>> official("", 10)
    'G'
    """
    for pattern in (r"answer is \(?([A-J])\)?", r".*[aA]nswer:\s*([A-J])"):
        if match := re.search(pattern, answer):
            return match[1]
    if match := re.search(r"[A-J](?=[^A-J]*$)", answer):
        return match[0]
    return LETTERS[random.Random(_GUESS_SEED).randint(0, options - 1)]


def item(row: Record) -> Record:
    """A published row as an item; options that only fill up are left out, as the authors do."""
    options = [option for option in choices(row, "options", "choices", most=16) if option != "N/A"]
    answer = letter(row, options, "answer", "answer_index")
    subject = text(row, "category", "subject")
    return {
        "id": None if row.get("question_id") is None else str(row["question_id"]),
        "group": subject,
        "question": text(row, "question"),
        "options": options,
        "answer": answer,
        "category": subject,
        "cot_content": row.get("cot_content") or f"A: {_STEPS} The answer is ({answer}).",
    }


def _prompts(settings: dict[str, Any], config: ChoiceConfig) -> dict[str, Any]:
    """The harness's prompts for all subjects at once; without ``cot`` they ask for the answer alone."""
    fields = {**_harness.prompts(settings), "process_docs": None}  # it leaves one subject
    theirs, few = settings["doc_to_text"], dict(settings["fewshot_config"])
    description = str(settings.get("description", ""))
    steps = config.cot and config.form == "generate"
    if not steps:
        description = description.replace("Think step by step and then finish your answer", "Finish your answer")
        fields["doc_to_text"] = few["doc_to_text"] = lambda row: theirs(row).removesuffix(f" {_STEPS}")
        few["doc_to_target"] = lambda row: f"The answer is ({row['answer']})."
    if config.form == "likelihood":
        description = description.split(" Finish your answer")[0].rstrip() + "\n"
        few["doc_to_target"] = lambda row: row["answer"]
    before, _, behind = description.partition(f"about {_SUBJECT}")
    fields["description"] = f"{before}about {{{{category}}}}{behind}" if behind else description
    return {**fields, "fewshot_config": few, "doc_to_target": lambda row: row["answer"]}
