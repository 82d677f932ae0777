r"""IFEval, instructions that a program can check (Zhou et al. 2023, arXiv:2311.07911), by the harness's own checks.

``accuracy`` is the share of prompts of which every instruction is followed, ``prompt_loose`` the same for the answer without
its first or last line or its asterisks; ``instruction_strict`` and ``instruction_loose`` are shares of all instructions (of an
item's own, in ``items.jsonl``). No answer is unparsed unless it is blank. Sample item::

    {"id": "1000", "group": null, "prompt": "Write a 300+ word summary … Do not use any commas …",
     "instructions": ["punctuation:no_comma", "length_constraints:number_words"],
     "arguments": ["{}", "{\"relation\": \"at least\", \"num_words\": 300}"]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from components.artifacts import Estimate, Inputs
from components.benchmarks import _instructions
from components.benchmarks._pooled import ratio
from components.benchmarks._source import Hub, Source, text
from components.benchmarks._task import Graded, StoredConfig, stored_task
from components.data.records import Record

METRICS = ("accuracy", "prompt_loose", "instruction_strict", "instruction_loose")


class Config(StoredConfig):
    """Greedy answers by default. There are no solved examples, and no steps are asked for."""

    method: Literal["ifeval"] = "ifeval"
    max_new_tokens: int = Field(1280, ge=1)
    shots: int = Field(0, ge=0, le=0)
    cot: Literal[False] = False


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    return stored_task(
        config,
        inputs,
        grade,
        METRICS,
        doc_to_text=lambda row: row["prompt"],
        doc_to_target=lambda row: " ".join(row["instructions"]),
    )


def grade(row: Record, answer: str) -> Graded:
    """Scores of one answer.

    Args:
        row: with ``prompt``, ``instructions`` and, as JSON, the ``arguments`` of each.
        answer: the text as the model gave it.
    """
    found = _instructions.follow(row["prompt"], row["instructions"], [json.loads(a) for a in row["arguments"]], answer)
    scores = {
        "accuracy": float(all(found.strict)),
        "prompt_loose": float(all(found.loose)),
        "instruction_strict": sum(found.strict) / len(found.strict),
        "instruction_loose": sum(found.loose) / len(found.loose),
    }
    return Graded(scores, answer.strip() or None)


def summary(items: Sequence[Record]) -> dict[str, Estimate]:
    """Shares of all instructions, where the means would count an item with three as often as one with one."""
    wholes = [len(item["target"].split()) for item in items]  # the target names the instructions
    return {
        metric: ratio([item["scores"][metric] * whole for item, whole in zip(items, wholes, strict=True)], wholes)
        for metric in ("instruction_strict", "instruction_loose")
    }


def _item(row: Record) -> Record:
    ids, arguments = row["instruction_id_list"], row["kwargs"]
    if not isinstance(ids, list) or not isinstance(arguments, list) or not ids or len(ids) != len(arguments):
        raise ValueError("'instruction_id_list' and 'kwargs' must be lists of the same length, one entry an instruction")
    if unknown := [name for name in ids if name not in _instructions.names()]:
        raise ValueError(f"instruction {unknown[0]!r} can't be checked; known are {', '.join(sorted(_instructions.names()))}")
    given = [json.dumps({k: v for k, v in each.items() if v is not None}, ensure_ascii=False) for each in arguments]
    return {"id": text(row, "key", "id"), "group": None, "prompt": text(row, "prompt"), "instructions": ids, "arguments": given}


SOURCE = Source(
    item=_item,
    sample={
        "key": 1001,
        "prompt": "Write an itinerary for a journey to Japan. You are not allowed to use any commas in your response.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    about="input_data.jsonl of https://github.com/google-research/google-research/tree/master/instruction_following_eval",
    licence="Apache-2.0",
    size=541,
    hub=Hub("google/IFEval", "train"),
)
