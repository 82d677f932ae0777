r"""GSM8K, grade-school mathematics (Cobbe et al. 2021, arXiv:2110.14168), by the harness's own tasks.

``accuracy`` compares the last number of the answer, ``strict`` the number behind ``####`` (``cot: false``) or behind "The
answer is" (``cot: true``): the harness's *flexible-extract* and *strict-match*. Its prompts: ``gsm8k`` with examples drawn
from the training rows, or with ``cot`` the step-by-step prompt, whose eight examples are fixed (Wei et al. 2022). Sample item::

    {"id": "1", "group": null, "question": "Natalia sold clips to 48 of her friends …", "answer": "… #### 72"}
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from components.artifacts import Inputs
from components.benchmarks import _harness
from components.benchmarks._source import Hub, Source, text
from components.benchmarks._task import Grade, Graded, Pool, StoredConfig, stored_task
from components.data.records import Record

_FIXED = 8


class Config(StoredConfig):
    """Greedy answers without examples by default."""

    method: Literal["gsm8k"] = "gsm8k"
    max_new_tokens: int = Field(512, ge=1)

    @model_validator(mode="after")
    def _fixed_examples(self) -> Config:
        if self.cot and self.shots > _FIXED:
            raise ValueError(
                f"shots={self.shots}: the step-by-step prompt has {_FIXED} fixed examples; lower it, or set cot: false"
            )
        return self

    @property
    def draws(self) -> bool:
        """See StoredConfig."""
        return self.shots > 0 and not self.cot


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    name = "gsm8k" if not config.cot else "gsm8k-cot" if config.shots else "gsm8k-cot-zeroshot"
    settings = _harness.load(f"gsm8k/{name}.yaml")
    pool = (lambda: _fixed(settings)) if config.cot else None
    return stored_task(
        config,
        inputs,
        grader(settings),
        ("accuracy", "strict"),
        until=_harness.until(settings),
        pool=pool,
        **_harness.prompts(settings),
    )


def grader(settings: dict[str, Any]) -> Grade:
    """Grades one answer by the filters and the exact match of the harness's task."""
    filters, match = _harness.extractors(settings), _harness.exact_match(settings)

    def grade(row: Record, answer: str) -> Graded:
        found = {name: extract(answer, row) for name, extract in filters.items()}
        last = found["flexible-extract"]
        scores = {"accuracy": float(match(last, row["answer"])), "strict": float(match(found["strict-match"], row["answer"]))}
        return Graded(scores, None if last == _harness.INVALID else _canonical(last))

    return grade


def _canonical(number: str) -> str:
    """``$1,200.`` and ``1200`` are one answer."""
    return number.replace(",", "").replace("$", "").rstrip(".") or number


def _fixed(settings: dict[str, Any]) -> Pool:
    samples = settings["fewshot_config"]["samples"]
    return [{"id": f"fixed-{i}", "group": None, **sample} for i, sample in enumerate(samples)]


def _item(row: Record) -> Record:
    answer = text(row, "answer")
    if "####" not in answer:
        raise ValueError("'answer' has no '####' before its number")
    return {"id": None, "group": None, "question": text(row, "question"), "answer": answer}


SOURCE = Source(
    item=_item,
    sample={"question": "Tom has 3 apples and buys 4. How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
    about="test.jsonl and train.jsonl (examples) of https://github.com/openai/grade-school-math",
    licence="MIT",
    size=1319,
    hub=Hub("openai/gsm8k", "test", "cc7b047b6e5bb11b4f1af84efc572db110a51b3c", "main", "train"),
)
