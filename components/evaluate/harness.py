"""Evaluates a model on benchmarks through lm-evaluation-harness, with our engine under it.

Writes ``items.jsonl``, one line an item in the order of the dataset::

    {"benchmark": "wordproblems", "id": "h1", "group": "unseen", "prompt": "…", "answer": "7", "response": "…",
     "scores": {"accuracy": 1.0}, "truncated": false, "parsed": true}

and ``metrics.json``: ``{benchmark: {metric: {value, low, high, n}}}``, with ``metric@group`` for every group and the shares
``truncated`` and ``unparsed`` beside them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from components import methods
from components.artifacts import Inputs
from components.benchmarks.wordproblems import Config as WordProblems
from components.comparison import ITEMS
from components.config import Choice, MethodConfig
from components.data.records import read, write
from components.errors import InputError
from components.stage import Stage
from components.statistics import mean


class Config(MethodConfig):
    """Settings of the evaluation.

    Attributes:
        benchmarks: what is measured, each at most once.
        num_fewshot: solved examples before every item, the same ones for all, drawn with the run's seed from ``sft``.
        batch_tokens: prompt and answer tokens in a batch.
    """

    method: Literal["harness"] = "harness"
    benchmarks: list[Annotated[MethodConfig, Choice("benchmark")]] = Field([WordProblems()], min_length=1)
    num_fewshot: int = Field(0, ge=0)
    batch_tokens: int = Field(32768, ge=1)

    @field_validator("benchmarks")
    @classmethod
    def _once(cls, value: list[MethodConfig]) -> list[MethodConfig]:
        names = [benchmark.method for benchmark in value]
        if double := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"benchmark {double[0]!r} stands twice; items are told apart by benchmark and id")
        return value

    def splits(self) -> tuple[str, ...]:
        """Splits that are read beside ``heldout``."""
        return ("sft",) if self.num_fewshot else ()


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Runs all benchmarks on ``inputs.model``."""
    from components.inference.dequantize import dequantize
    from components.inference.engine import Engine
    from components.inference.harness import EngineLM
    from components.models.load import load_model

    model, tokenizer = load_model(inputs.model, stage.device)
    if stage.device == "cpu":
        dequantize(model)
    lm = EngineLM(
        Engine(model, tokenizer, stage.device, on_progress=stage.events.progress),
        seed=stage.seed,
        batch_tokens=config.batch_tokens,
    )
    items = [item for benchmark in config.benchmarks for item in evaluate(config, benchmark, inputs, lm, stage.seed)]
    write(stage.out / ITEMS, items)
    stage.save_metrics(summarise(items))
    for benchmark in config.benchmarks:
        first = next(item for item in items if item["benchmark"] == benchmark.method)
        stage.events.text(f"{benchmark.method}: first item", f"{first['prompt']}\n{first['response']}")


def evaluate(config: Config, benchmark: MethodConfig, inputs: Inputs, lm: Any, seed: int) -> list[dict[str, Any]]:
    """Items of one benchmark, scored by the harness."""
    import logging

    from lm_eval import evaluator
    from lm_eval.api import task as harness_task

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # its warnings are about settings of ours that are meant
    name = benchmark.method
    settings = methods.load("benchmark", name).task(benchmark, inputs, lm.tokenizer)
    task = harness_task.ConfigurableTask(config={**settings, **few_shot(config, inputs, seed)})
    task.set_fewshot_seed(seed)
    results = evaluator.evaluate(
        lm, {"tasks": {name: task}}, apply_chat_template=True, fewshot_as_multiturn=True, bootstrap_iters=0
    )
    return [_item(name, sample) for sample in sorted(results["samples"][name], key=lambda sample: sample["doc_id"])]


def few_shot(config: Config, inputs: Inputs, seed: int) -> dict[str, Any]:
    """The part of a task's config that puts examples from ``sft`` before every item, as turns of a conversation.

    Raises:
        InputError: if ``sft`` has fewer examples, or conversations of more than one question.
    """
    if not config.num_fewshot:
        return {"num_fewshot": 0}
    rows = list(read(inputs.split("sft"), "sft"))
    if len(rows) < config.num_fewshot:
        raise InputError(f"evaluate.num_fewshot={config.num_fewshot}, but split 'sft' has only {len(rows)} rows; lower it")
    drawn = random.Random(f"{seed} few-shot").sample(rows, config.num_fewshot)
    if any("prompt" not in row for row in drawn):
        raise InputError("few-shot examples need sft rows with 'prompt' and 'completion'; set evaluate.num_fewshot=0 for messages")
    examples = {
        "sampler": "first_n",
        "samples": drawn,
        "doc_to_text": lambda row: row["prompt"],
        "doc_to_target": lambda row: row["completion"],
    }
    return {"num_fewshot": config.num_fewshot, "fewshot_config": examples}


def summarise(items: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Estimates by benchmark and metric, also by group, with the shares of truncated and unparsed answers."""
    report: dict[str, dict[str, dict[str, float]]] = {}
    for name in dict.fromkeys(item["benchmark"] for item in items):
        mine = [item for item in items if item["benchmark"] == name]
        groups = sorted({item["group"] for item in mine if item["group"] is not None})
        report[name] = _metrics(mine)
        for group in groups:
            part = _metrics(item for item in mine if item["group"] == group)
            report[name].update({f"{metric}@{group}": estimate for metric, estimate in part.items()})
    return report


def _metrics(items: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    items = list(items)
    values = {metric: [item["scores"][metric] for item in items] for metric in items[0]["scores"]}
    values["truncated"] = [float(item["truncated"]) for item in items]
    values["unparsed"] = [float(not item["parsed"]) for item in items]
    return {metric: asdict(mean(scores)) for metric, scores in values.items()}


def _item(benchmark: str, sample: dict[str, Any]) -> dict[str, Any]:
    """One line of ``items.jsonl`` from one of the harness's logged samples."""
    doc, scores = sample["doc"], {metric: float(sample[metric]) for metric in sample["metrics"]}
    parsed = bool(scores.pop("parsed"))
    if "chosen" in doc:
        (chosen, _), (rejected, _) = (response[0] for response in sample["resps"])
        answer, response = doc["chosen"], doc["chosen" if chosen > rejected else "rejected"]
        truncated = False
    else:
        answer, response = doc["answer"], sample["resps"][0][0]
        truncated = response.truncated
    found = {"benchmark": benchmark, "id": doc["id"], "group": doc["group"], "prompt": doc["prompt"], "answer": answer}
    return {**found, "response": str(response), "scores": scores, "truncated": truncated, "parsed": parsed}
