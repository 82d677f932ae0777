"""A benchmark of lm-evaluation-harness from its own file: its prompts, filters and scoring over our data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.data.records import Record

INVALID = "[invalid]"
"""What the harness's filters give where an answer holds nothing to extract."""
_DATA = ("dataset_path", "dataset_name", "training_split", "validation_split", "fewshot_split", "tag", "metadata", "num_fewshot")
_RESULTS = ("filter_list", "metric_list", "process_results", "generation_kwargs", "repeats", "output_type", "task", "task_alias")


def load(file: str, functions: bool = True) -> dict[str, Any]:
    """A task's settings as the harness reads them, with what they include and with their functions.

    Args:
        file: below ``lm_eval/tasks``, e.g. ``gsm8k/gsm8k.yaml``.
        functions: False where the module of its functions can't be imported here (HumanEval's runs code when it is).
    """
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    path = Path(lm_eval.tasks.__file__).parent / file
    found: dict[str, Any] = load_yaml(path, resolve_func=functions)
    return found


def prompts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a task's settings that makes its prompts; data and scoring are left out."""
    return {name: value for name, value in settings.items() if name not in (*_DATA, *_RESULTS)}


def until(settings: Mapping[str, Any]) -> list[str]:
    """Strings that end an answer, special tokens of other models left out: the engine knows its own."""
    stops = (settings.get("generation_kwargs") or {}).get("until") or []
    return [stop for stop in stops if not stop.startswith("<")]


def extractors(settings: Mapping[str, Any]) -> dict[str, Callable[[str, Record], str]]:
    """The task's filters by name, each for a single answer; what couldn't be extracted is ``[invalid]``."""
    from lm_eval.filters import build_filter_ensemble

    found: dict[str, Callable[[str, Record], str]] = {}
    for entry in settings["filter_list"]:
        steps = [[step["function"], {k: v for k, v in step.items() if k != "function"}] for step in entry["filter"]]
        kept = [step for step in steps if step[0] != "take_first"]
        filters = [make() for make in build_filter_ensemble(entry["name"], kept).filters]

        def extract(answer: str, row: Record, filters: Sequence[Any] = filters) -> str:
            answers: Any = [[answer]]
            for step in filters:
                answers = step.apply(answers, [row])
            return str(next(iter(answers))[0])

        found[entry["name"]] = extract
    return found


def exact_match(settings: Mapping[str, Any]) -> Callable[[str, str], bool]:
    """The task's own exact match of (answer, target), with all that its settings ignore."""
    from lm_eval.api.metrics import exact_match_fn

    (entry,) = (m for m in settings["metric_list"] if m["metric"] == "exact_match")
    options = {k: v for k, v in entry.items() if k not in ("metric", "aggregation", "higher_is_better")}
    return lambda answer, target: bool(exact_match_fn(predictions=[answer], references=[target], **options)["exact_match"])
