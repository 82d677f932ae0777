"""Settings that every evaluation has, whoever answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from components.benchmarks.wordproblems import Config as WordProblems
from components.config import Choice, MethodConfig, each_once
from components.errors import InputError
from components.noise import LEAST_RUNS


class EvaluateConfig(MethodConfig):
    """Settings of an evaluation.

    Attributes:
        benchmarks: what is measured, each at most once under one name.
        num_fewshot: solved examples before every held-out item, the same ones for all, drawn with the run's seed from ``sft``;
            benchmarks with data of their own have ``shots``.
        reruns: so often everything is measured again with further seeds, which gives the noise floor; 2 or more.
    """

    benchmarks: list[Annotated[Any, Choice("benchmark")]] = Field([WordProblems()], min_length=1)
    num_fewshot: int = Field(0, ge=0)
    reruns: int = Field(0, ge=0, le=20)

    @field_validator("benchmarks")
    @classmethod
    def _once(cls, value: list[Any]) -> list[Any]:
        remedy = "items are told apart by benchmark and id: give one a 'name'"
        each_once([benchmark.label for benchmark in value], "benchmark", remedy)
        return value

    @field_validator("reruns")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < LEAST_RUNS - 1:
            raise ValueError(f"one rerun gives no noise floor; set {LEAST_RUNS - 1} or more, or 0 for none")
        return value

    @model_validator(mode="after")
    def _examples_are_shown(self) -> EvaluateConfig:
        if self.num_fewshot and all(hasattr(benchmark, "shots") for benchmark in self.benchmarks):
            raise ValueError(
                f"num_fewshot={self.num_fewshot} is for benchmarks over a dataset's held-out split, and none of these is one: "
                "set their 'shots'"
            )
        return self

    def check_examples(self, rows: int) -> None:
        """Refuses more ``num_fewshot`` than split ``sft`` has rows.

        Raises:
            InputError: naming both numbers.
        """
        if rows < self.num_fewshot:
            raise InputError(f"evaluate.num_fewshot={self.num_fewshot}, but split 'sft' has only {rows} rows; lower it")

    def splits(self) -> tuple[str, ...]:
        """Splits that are read beside ``heldout``."""
        return ("sft",) if self.num_fewshot else ()
