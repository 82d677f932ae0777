r"""LiveBench (White et al. 2024, arXiv:2406.19314): questions with answers that a program can check, renewed by release.

``accuracy`` of an item is LiveBench's score between 0 and 1; of the whole it is the mean of the categories, each the mean of its
tasks, as LiveBench has it (``accuracy@math`` is a category, ``accuracy@math/olympiad`` a task). The verifiers are in
``_livebench``. Only questions of a release, and only those that it still has. Sample item::

    {"id": "0daa7c…", "group": "reasoning/zebra_puzzle", "prompt": "There are 4 people standing in a line …",
     "release": "2024-11-25", "removal": "", "answer": "mystery, hip-hop", "question": "{\"task\": \"zebra_puzzle\", …}"}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from components.artifacts import Estimate, Inputs
from components.benchmarks import _stored
from components.benchmarks._ahead import Ahead
from components.benchmarks._livebench import coding, data_analysis, instruction_following, language, mathematics, reasoning
from components.benchmarks._livebench.answers import without_thoughts
from components.benchmarks._pooled import mean_of_means
from components.benchmarks._source import Source, text
from components.benchmarks._task import MAIN, Graded, StoredConfig, chosen, stored_task
from components.data.records import Record
from components.errors import InputError
from components.sandbox.run import require

Category = Literal["math", "reasoning", "data_analysis", "instruction_following", "language", "coding"]
_CODING = ("LCB_generation", "coding_completion")
_KEPT = ("partial_solution", "public_test_cases", "private_test_cases", "instruction_id_list", "kwargs")


class Config(StoredConfig):
    """One greedy answer an item, as LiveBench asks for. There are no solved examples.

    Attributes:
        category: only this one; default: all that the data has.
        task: only this one of a category, e.g. ``zebra_puzzle``.
        release: questions that were there on this day: published by then, not yet removed. Default: those never removed.
    """

    method: Literal["livebench"] = "livebench"
    max_new_tokens: int = Field(4096, ge=1)
    n: int = Field(1, ge=1, le=1)
    shots: int = Field(0, ge=0, le=0)
    cot: Literal[False] = False
    category: Category | None = None
    task: str | None = None
    release: str | None = Field(None, pattern=r"^20\d\d-\d\d-\d\d$")

    def holds(self, row: Record) -> bool:
        """Whether an item belongs to what is measured."""
        category, task = row["group"].split("/", 1)
        if (self.category or category) != category or (self.task or task) != task:
            return False
        if self.release is None:
            return not row["removal"]
        return row["release"] <= self.release and (not row["removal"] or row["removal"] > self.release)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config.

    Raises:
        InputError: if the data has no such question.
        SandboxUnavailable: if there is code to run and programs can't be confined on this machine.
    """
    items = [item for item in _stored.items(inputs.benchmark("livebench")) if config.holds(item)]
    if not items:
        asked = f"category {config.category or 'any'}, task {config.task or 'any'}, release {config.release or 'any'}"
        raise InputError(f"the livebench data has no question of {asked}; change them, or import the data that has it")
    if any(map(_runs_code, items)):
        require()

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list(chosen(items, config.limit))}

    ahead = Ahead(grade, _runs_code)
    settings = stored_task(config, inputs, ahead, doc_to_text=lambda row: row["prompt"], doc_to_target=lambda row: row["answer"])
    return ahead.known_first({**settings, "custom_dataset": load})


def grade(row: Record, answer: str) -> Graded:
    """LiveBench's score of one answer; what a reasoning model thinks before it isn't part of it."""
    given = without_thoughts(answer)
    found = score(json.loads(row["question"]), given)
    return Graded({MAIN: found or 0.0}, None if found is None else given)


def score(question: Record, answer: str) -> float | None:
    """The verdict of the task's verifier (dispatch of livebench/gen_ground_truth_judgment.py); None if nothing could be compared.

    Args:
        question: in LiveBench's own form.
        answer: without thoughts.

    Raises:
        ValueError: if the task has no verifier here.
    """
    kind, truth, prompt = _kind(question), question.get("ground_truth", ""), question["turns"][0]
    release = question["livebench_release_date"]
    if kind == "instructions":
        return instruction_following.instructions(prompt, question["instruction_id_list"], question["kwargs"], answer)
    if kind == "contest":
        return mathematics.contest(truth, answer, prompt)
    if kind in ("zebra_puzzle", "connections"):
        return (reasoning.zebra_puzzle if kind == "zebra_puzzle" else language.connections)(truth, answer, release)
    if kind == "tablereformat":
        return data_analysis.reformat(truth, answer, prompt, release)
    if kind == "code":
        return coding.passes(question, answer)
    verifiers: dict[str, Any] = {
        "aime": mathematics.aime,
        "proof": mathematics.proof_order,
        "amps_hard": mathematics.expression,
        "web_of_lies_v2": reasoning.web_of_lies_v2,
        "web_of_lies_v3": reasoning.web_of_lies_v3,
        "spatial": reasoning.spatial,
        "house_traversal": reasoning.house_traversal,
        "cta": data_analysis.column_type,
        "tablejoin": data_analysis.join,
        "plot_unscrambling": language.plot,
        "typos": language.typos,
    }
    return verifiers[kind](truth, answer)  # type: ignore[no-any-return]


def summary(items: Sequence[Record]) -> dict[str, Estimate]:
    """``accuracy`` of the whole and of each category, from the means of the tasks."""
    groups: dict[str, dict[str, list[float]]] = {}
    for item in items:
        category, task = item["group"].split("/", 1)
        groups.setdefault(category, {}).setdefault(task, []).append(item["scores"][MAIN])
    return {f"{MAIN}@{name}" if name else MAIN: estimate for name, estimate in mean_of_means(groups).items()}


def _kind(question: Record) -> str:
    """Which verifier a question has."""
    name, task = str(question.get("subtask") or question["task"]), str(question["task"])
    first, *rest = name.split("_")
    if question["category"] == "instruction_following":
        if question["livebench_release_date"] < instruction_following.NEW_INSTRUCTIONS:
            return "instructions"
        raise ValueError("instruction following since the release of 2025-11-25 (IFBench) can't be checked; leave these rows out")
    if first in ("amc", "smc") or rest[:1] == ["amc"]:
        return "contest"
    if first == "aime":
        return "aime"
    if first in ("imo", "usamo"):
        return "proof"
    if "amps_hard" in f"{name} {task}".lower():
        return "amps_hard"
    if "zebra_puzzle" in name:
        return "zebra_puzzle"
    if name in _CODING:
        return "code"
    known = ("cta", "tablejoin", "tablereformat", "web_of_lies_v2", "web_of_lies_v3", "spatial", "house_traversal")
    if name in (*known, "connections", "plot_unscrambling", "typos"):
        return name
    raise ValueError(f"task {name!r} has no verifier here; leave these rows out")


def _runs_code(row: Record) -> bool:
    return str(row["group"]).startswith("coding/")


def _item(row: Record) -> Record:
    release = text(row, "livebench_release_date")[:10]
    category, task = text(row, "category"), text(row, "task")
    turns = row["turns"]
    if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], str):
        raise ValueError("'turns' must be a list of one text; LiveBench's questions have one turn")
    question: Record = {"category": category, "task": task, "turns": turns, "livebench_release_date": release}
    question |= {name: row[name] for name in ("subtask", *_KEPT) if row.get(name) is not None}
    kind = _kind(question)
    if kind == "instructions":
        question["kwargs"] = [{k: v for k, v in each.items() if v is not None} for each in row["kwargs"]]
        question["instruction_id_list"] = row["instruction_id_list"]
    elif kind == "code":
        question["original_json"] = {"metadata": row["original_json"]["metadata"]}
        coding.tests(question)
    else:
        question["ground_truth"] = row["ground_truth"]
        if kind == "contest" and row["ground_truth"] not in tuple("ABCDE"):
            raise ValueError(f"'ground_truth' is {row['ground_truth']!r}, expected a letter from A to E")
    return {
        "id": text(row, "question_id"),
        "group": f"{category}/{task}",
        "prompt": turns[0],
        "release": release,
        "removal": str(row.get("livebench_removal_date") or "")[:10],
        "answer": str(question.get("ground_truth", "")),
        "question": json.dumps(question, ensure_ascii=False),
    }


SOURCE = Source(
    item=_item,
    sample={
        "question_id": "0daa7ca38beec4441b9d5c04d0b98912322926f0a3ac28a5097889d4ed83506f",
        "category": "reasoning",
        "task": "zebra_puzzle",
        "turns": ["There are 2 people in a line. … Put the answer in <solution></solution> tags."],
        "ground_truth": "mystery, hip-hop",
        "livebench_release_date": "2024-11-25",
        "livebench_removal_date": "",
    },
    about="question.jsonl of the categories in one file (https://github.com/LiveBench/LiveBench, download_questions.py)",
    licence="Apache-2.0",
)
