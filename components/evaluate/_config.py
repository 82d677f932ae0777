"""Settings that every evaluation has, whoever answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from components.benchmarks.wordproblems import Config as WordProblems
from components.config import Choice, MethodConfig
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
        names = [benchmark.label for benchmark in value]
        if double := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"benchmark {double[0]!r} stands twice; items are told apart by benchmark and id: give one a 'name'")
        return value

    @field_validator("reruns")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < LEAST_RUNS - 1:
            raise ValueError(f"one rerun gives no noise floor; set {LEAST_RUNS - 1} or more, or 0 for none")
        return value

    def splits(self) -> tuple[str, ...]:
        """Splits that are read beside ``heldout``."""
        return ("sft",) if self.num_fewshot else ()
