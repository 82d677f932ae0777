"""Questions with lettered options: by the log-probability of each letter, or by the letter that a generated answer names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import model_validator

from components.artifacts import Inputs
from components.benchmarks._task import MAIN, Pool, StoredConfig, metric_list, sampler, stored
from components.data.records import Record

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class ChoiceConfig(StoredConfig):
    """A benchmark of lettered options.

    Attributes:
        form: ``generate`` reads the letter from an answer; ``likelihood`` takes the most probable letter, in one pass and without
            an answer, which chat endpoints can't.
    """

    form: Literal["generate", "likelihood"] = "generate"

    @property
    def by_likelihood(self) -> bool:
        """See BenchmarkConfig."""
        return self.form == "likelihood"

    @model_validator(mode="after")
    def _likelihood_has_one_answer(self) -> ChoiceConfig:
        if self.form == "likelihood" and self.n > 1:
            raise ValueError(f"n={self.n}: the most probable letter is always the same; set form: generate for several answers")
        return self


def likelihood_task(
    config: ChoiceConfig,
    inputs: Inputs,
    tokenizer: Any,
    labels: Callable[[Record], Sequence[str]],
    right: Callable[[Record], int],
    extra: Callable[[Record, int], dict[str, float]] = lambda row, chosen: {},
    *,
    metrics: Sequence[str] = (),
    pool: Callable[[], Pool] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A task that takes the option whose label is most probable behind the prompt.

    Args:
        labels: of an item's options, as the model would write them: ``A`` or ``(A)``.
        right: index of the right one.
        extra: further scores, from the item and the chosen index.
        metrics: their names.
        fields: the harness's settings, as in ``stored_task``.
    """

    def write(row: Record) -> list[str]:
        return [answer_text(tokenizer, label) if config.chat else label for label in labels(row)]

    def results(row: Record, found: Sequence[tuple[float, bool]]) -> dict[str, Any]:
        values = [value for value, _ in found]
        if max(values) == -math.inf or any(map(math.isnan, values)):  # it doesn't fit, or the model is broken: no letter by chance
            return {MAIN: 0.0, "parsed": 0.0, "extracted": [None]}
        chosen = max(range(len(values)), key=values.__getitem__)
        return {MAIN: float(chosen == right(row)), **extra(row, chosen), "parsed": 1.0, "extracted": [labels(row)[chosen]]}

    return {
        **fields,
        "task": config.label,
        "custom_dataset": stored(config, inputs, pool),
        "test_split": "test",
        "output_type": "multiple_choice",
        "num_fewshot": config.shots,
        "fewshot_config": {**(fields.get("fewshot_config") or {}), **sampler(config)},
        "doc_to_choice": write,
        "doc_to_target": right,
        "process_results": results,
        "metric_list": metric_list([MAIN, *metrics, "parsed"]),
    }


def answer_text(tokenizer: Any, answer: str) -> str:
    """What the chat template writes behind a prompt for an answer, up to its last character.

    Raises:
        ValueError: if the template doesn't write the answer as it is.
    """
    user = [{"role": "user", "content": "?"}]
    start: str = tokenizer.apply_chat_template(user, add_generation_prompt=True, tokenize=False)
    whole: str = tokenizer.apply_chat_template([*user, {"role": "assistant", "content": answer}], tokenize=False)
    rest = whole.removeprefix(start)
    return rest[: rest.rindex(answer) + len(answer)]
