"""Measures benchmarks through lm-evaluation-harness, whoever answers: one of our models or an endpoint.

Writes ``items.jsonl``, one line an item in the order of the dataset::

    {"benchmark": "gsm8k", "id": "h1", "group": "unseen", "prompt": "…", "answer": "7", "target": "7", "response": "…",
     "responses": ["…"], "extracted": ["7"], "scores": {"accuracy": 1.0}, "truncated": false, "parsed": true,
     "shares": {"truncated": 0.0, "unparsed": 0.0}}

Scores lie between 0 and 1; items of a benchmark whose scores don't, say between what they lie: ``"range": [1, 10]``.

``metrics.json``: ``{benchmark: {metric: {value, low, high, n}}}``, with ``metric@group`` for every group and the shares
``truncated`` and ``unparsed`` beside them; ``spec.json``: what was asked how, with the hashes of prompts and settings;
``reruns.json``: ``{benchmark: {metric: [mean of each rerun]}}``.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components import methods
from components.artifacts import Inputs
from components.benchmarks import _stored
from components.benchmarks._task import before
from components.comparison import ITEMS, bounds
from components.config import MethodConfig
from components.data.records import read, write
from components.errors import InputError
from components.evaluate._config import EvaluateConfig
from components.stage import Stage
from components.statistics import mean

Item = dict[str, Any]
SPEC, RERUNS = "spec.json", "reruns.json"
_SHORTER = "take fewer shots, or a model with a longer context"
_RERUN_STEP = 1_000_003  # seeds of reruns lie apart from those of other runs of a recipe


def measure(
    config: EvaluateConfig, inputs: Inputs, stage: Stage, lm: Any, context: int | None, fits: Callable[[str], bool] | None = None
) -> None:
    """Runs all benchmarks and writes what came out.

    Args:
        lm: the harness's model interface.
        context: tokens that the model can take, where that is known.
        fits: whether a prompt leaves room for an answer in them.
    """
    items: list[Item] = []
    specs: dict[str, Any] = {}
    for benchmark in config.benchmarks:
        found, spec = evaluate(config, benchmark, inputs, lm, stage.seed, stage.work / "answers", fits)
        if spec["overlong"]:
            stage.events.warning(
                f"{benchmark.label}: {spec['overlong']} of {spec['requests']} prompts don't fit into the model's context of "
                f"{context} tokens; they count as wrong, truncated and unparsed: {_SHORTER}"
            )
        items += found
        specs[benchmark.label] = spec
        stage.events.text(f"{benchmark.label}: first item", f"{found[0]['prompt']}\n{found[0]['response']}")
    write(stage.out / ITEMS, items)
    stage.save_metrics(summarise(items, config.benchmarks))
    _save(stage.out / SPEC, specs)
    if config.reruns:
        _save(stage.out / RERUNS, _reruns(config, inputs, stage, lm, fits))


def evaluate(
    config: EvaluateConfig,
    benchmark: Any,
    inputs: Inputs,
    lm: Any,
    seed: int,
    kept: Path,
    fits: Callable[[str], bool] | None = None,
) -> tuple[list[Item], dict[str, Any]]:
    """(items, specification) of one benchmark, asked and scored by the harness.

    Args:
        kept: folder in which answers, and what judges say of them, are kept until the whole evaluation is done.
    """
    import logging

    from lm_eval import evaluator

    from components.evaluate._answers import Answers

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # its warnings are about settings of ours that are meant
    inputs = replace(inputs, work=kept / f"seed-{seed}")  # a rerun asks judges anew: their noise is part of the floor
    name, chat = benchmark.label, getattr(benchmark, "chat", True)
    module = methods.load("benchmark", benchmark.method)
    hidden = benchmark.stored() in inputs.benchmarks and _stored.protected(inputs.benchmarks[benchmark.stored()])
    span = {"range": list(module.RANGE)} if hasattr(module, "RANGE") else {}
    lm.chat = chat

    def ask(settings: dict[str, Any], answers: Answers) -> list[Item]:
        task = _task({**settings, "metadata": {"seed": seed}})
        task.set_fewshot_seed(seed)
        results = evaluator.evaluate(
            answers,
            {"tasks": {name: task}},
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            system_instruction=getattr(benchmark, "system", None),
            bootstrap_iters=0,
            confirm_run_unsafe_code=True,  # what runs code does so in a sandbox of its own
        )
        samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        return [_item(name, sample, _asked(task, sample["doc"]), hidden) | span for sample in samples]

    answers = Answers(lm, kept / f"{name}-{seed}.jsonl", seed, fits)
    items = ask(module.task(benchmark, inputs, lm.tokenizer) | few_shot(config, benchmark, inputs, seed), answers)
    if hasattr(module, "second_turn"):  # its questions follow the model's own first answers
        further = Answers(lm, kept / f"{name}-{seed}-second.jsonl", seed, fits)
        further.prompts = answers.prompts
        items += ask(module.second_turn(benchmark, inputs, items), further)
        answers.overlong += further.overlong
        answers.requests += further.requests
    return items, _spec(config, benchmark, inputs, answers, items, seed)


def _asked(task: Any, doc: Mapping[str, Any]) -> str:
    """An item's question as text, behind what stands before it."""
    return "\n".join([*(message["content"] for message in before(dict(doc))), task.doc_to_text(doc)])


def _task(settings: dict[str, Any]) -> Any:
    """The harness's task; its sampler of examples learns which item they are for, and an item's earlier turns stand before it."""
    from lm_eval.api.task import ConfigurableTask

    class Task(ConfigurableTask):  # type: ignore[misc]
        """See above."""

        def fewshot_context(self, doc: Any, *args: Any, chat_template: Any = None, **kwargs: Any) -> Any:
            self.sampler.item = doc
            turns = before(doc)

            def template(messages: list[Any], **how: Any) -> str:
                text: str = chat_template([*messages[:-1], *turns, messages[-1]], **how)
                return text

            return super().fewshot_context(doc, *args, chat_template=template if turns else chat_template, **kwargs)

    return Task(config=settings)


def few_shot(config: EvaluateConfig, benchmark: MethodConfig, inputs: Inputs, seed: int) -> dict[str, Any]:
    """The part of a task's config that puts examples from ``sft`` before every held-out item, as turns of a conversation.

    Benchmarks with stored data have ``shots`` and bring their own.

    Raises:
        InputError: if ``sft`` has fewer examples, or conversations of more than one question.
    """
    if hasattr(benchmark, "shots"):
        return {}
    if not config.num_fewshot:
        return {"num_fewshot": 0}
    rows = list(read(inputs.split("sft"), "sft"))
    config.check_examples(len(rows))
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


def summarise(items: list[Item], benchmarks: Iterable[Any] = ()) -> dict[str, dict[str, dict[str, float]]]:
    """Estimates by benchmark and metric, also by group, with the shares of truncated and unparsed answers.

    Args:
        benchmarks: settings of the benchmarks, for figures of theirs that aren't means of items (``summary`` in their file).
    """
    report: dict[str, dict[str, dict[str, float]]] = {}
    for name in dict.fromkeys(item["benchmark"] for item in items):
        mine = [item for item in items if item["benchmark"] == name]
        groups = sorted({item["group"] for item in mine if item["group"] is not None})
        report[name] = _metrics(mine)
        for group in groups:
            part = _metrics(item for item in mine if item["group"] == group)
            report[name].update({f"{metric}@{group}": estimate for metric, estimate in part.items()})
    for benchmark in benchmarks:
        report[benchmark.label].update(_own_figures(benchmark, [i for i in items if i["benchmark"] == benchmark.label]))
    return report


def _own_figures(benchmark: Any, items: list[Item]) -> dict[str, dict[str, float]]:
    summary = getattr(methods.load("benchmark", benchmark.method), "summary", None)
    return {metric: asdict(estimate) for metric, estimate in summary(items).items()} if summary else {}


def _metrics(items: Iterable[Item]) -> dict[str, dict[str, float]]:
    items = list(items)
    names = dict.fromkeys(metric for item in items for metric in item["scores"])  # some count for some of the items only
    values = {metric: [item["scores"][metric] for item in items if metric in item["scores"]] for metric in names}
    found = {metric: mean(scores, bounds=bounds(items[0])) for metric, scores in values.items()}
    for share in ("truncated", "unparsed"):
        found[share] = mean([item["shares"][share] for item in items])
    return {metric: asdict(estimate) for metric, estimate in found.items()}


def _item(benchmark: str, sample: Mapping[str, Any], prompt: str, hidden: bool) -> Item:
    """One line of ``items.jsonl`` from one of the harness's logged samples."""
    doc = sample["doc"]
    scores = {name: sample[name] for name in sample["metrics"]}
    parsed, extracted = float(scores.pop("parsed")), scores.pop("extracted")
    if isinstance(sample["resps"][0][0], tuple):  # log-probabilities of choices; what was chosen counts as read
        responses, cut, target = [extracted[0] or ""], 1.0 - parsed, doc.get("chosen", doc.get("answer"))
        target = target[0] if isinstance(target, list) else target
    else:
        responses, target = [str(answer) for answer in sample["resps"][0]], sample["target"]
        cut = sum(answer.truncated for answer in sample["resps"][0]) / len(responses)
    return {
        "benchmark": benchmark,
        "id": doc["id"],
        "group": doc["group"],
        "prompt": f"sha256:{hashlib.sha256(prompt.encode()).hexdigest()}" if hidden else prompt,
        "answer": str(target),
        "target": str(target),
        "response": responses[0],
        **({"responses": responses} if len(responses) > 1 else {}),
        "extracted": extracted,
        "scores": {name: float(value) for name, value in scores.items()},
        "truncated": cut > 0,
        "parsed": parsed == 1,
        "shares": {"truncated": cut, "unparsed": 1 - parsed},
    }


def _spec(config: EvaluateConfig, benchmark: Any, inputs: Inputs, answers: Any, items: list[Item], seed: int) -> dict[str, Any]:
    """What was asked how: settings, data and harness under one hash, all rendered prompts under another."""
    stored = inputs.benchmarks.get(benchmark.stored() or "")
    held = inputs.data.splits["heldout"].sha256 if stored is None and inputs.data else None
    decides = {
        "benchmark": benchmark.model_dump(mode="json"),
        "num_fewshot": 0 if hasattr(benchmark, "shots") else config.num_fewshot,
        "lm_eval": version("lm-eval"),
        "data": stored.md5 if stored else held,
        "seed": seed,
    }
    size = _stored.about(stored).get("size") if stored else None
    hidden = stored is not None and _stored.protected(stored)
    return {
        **decides,
        "spec_sha256": hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest(),
        "prompts_sha256": answers.prompts.hexdigest(),
        "first_prompt": "" if hidden else answers.first,
        "items": len(items),
        "of": size,
        "overlong": len(answers.overlong),
        "requests": answers.requests,
    }


def _reruns(config: EvaluateConfig, inputs: Inputs, stage: Stage, lm: Any, fits: Any) -> dict[str, dict[str, list[float]]]:
    """Means of every metric over evaluations with further seeds: how much a score moves when nothing has changed."""
    found: dict[str, dict[str, list[float]]] = {}
    for benchmark in config.benchmarks:
        means = found[benchmark.label] = {}
        for number in range(1, config.reruns + 1):
            seed = (stage.seed + number * _RERUN_STEP) % 2**32
            items, _ = evaluate(config, benchmark, inputs, lm, seed, stage.work / "answers", fits)
            for metric, estimate in {**_metrics(items), **_own_figures(benchmark, items)}.items():
                means.setdefault(metric, []).append(estimate["value"])
    return found


def _save(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
