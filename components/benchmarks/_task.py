"""What our benchmarks share: a task of lm-evaluation-harness over a held-out split of a dataset version.

A benchmark file holds a ``Config`` and ``task(config, inputs, tokenizer)``, which returns the harness's own task config
as a dictionary. Its ``process_results`` gives one score a metric, and ``parsed``: whether the answer could be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from components.artifacts import Inputs, RecordKind
from components.config import MethodConfig
from components.data.records import Record, read
from components.errors import InputError

Scores = dict[str, float]


class GenerationConfig(MethodConfig):
    """How a benchmark's answers are generated.

    Attributes:
        max_new_tokens: longer answers are cut and count as truncated.
        temperature: 0 takes the most probable token.
        top_p: draws come from the smallest set of tokens that has this probability.
    """

    max_new_tokens: int = Field(64, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)


def generation_task(
    config: GenerationConfig,
    inputs: Inputs,
    score: Callable[[Record, str], Scores],
    metrics: Iterable[str],
    **fields: Any,
) -> dict[str, Any]:
    """A task that generates an answer to every held-out prompt and scores it with ``score(row, answer)``.

    Args:
        config: names the task and says how answers are generated.
        inputs: hold the dataset version.
        score: gives one score a metric, and ``parsed``.
        metrics: names of the scores, ``parsed`` left out.
        fields: of a row beside ``id``, ``group``, ``prompt`` and ``answer``, with what stands where a row has none.
    """
    return {
        "task": config.method,
        "custom_dataset": held_out(inputs, "prompts", {"answer": "", **fields}),
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": _field("prompt"),
        "doc_to_target": _field("answer"),
        "generation_kwargs": {
            "until": [],
            "max_gen_toks": config.max_new_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
        },
        "process_results": lambda row, answers: score(row, answers[0]),
        "metric_list": metric_list([*metrics, "parsed"]),
    }


def metric_list(names: Iterable[str]) -> list[dict[str, Any]]:
    """The harness's entries for metrics whose value is the mean of the items' scores."""
    return [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names]


def held_out(inputs: Inputs, kind: RecordKind, fields: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """The harness's ``custom_dataset``: the held-out split in memory, with the fields that the benchmark reads.

    Raises:
        InputError: if the dataset has no held-out split or one of another kind.
    """
    path = inputs.split("heldout")
    found = inputs.data.splits["heldout"].kind if inputs.data else kind
    if found != kind:
        raise InputError(
            f"the held-out split is of kind {found!r}, this benchmark needs {kind!r}; choose another benchmark or dataset"
        )
    names = {"id": None, "group": None, "prompt": None, **fields}

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list([_row(row, number, names, path) for number, row in enumerate(read(path, kind), 1)])}

    return load


def _row(row: Record, number: int, names: dict[str, Any], path: Path) -> Record:
    kept = {name: row.get(name, default) for name, default in names.items()}
    kept["id"] = str(number if kept["id"] is None else kept["id"])
    kept["group"] = None if kept["group"] is None else str(kept["group"])
    return kept


def _field(name: str) -> Callable[[Record], str]:
    # A function, because the harness reads a plain string that looks like a template as one.
    return lambda row: str(row[name])
