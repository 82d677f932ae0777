"""Grades that take time, such as running a program: all answers of an evaluation at once, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from components.benchmarks._task import Grade, Graded
from components.data.records import Record
from components.sandbox.run import each


class Ahead:
    """A grade that knows its verdicts before it is asked for them one by one.

    The harness filters all answers before it scores the first: ``known_first`` puts the work there.

    Args:
        grade: may be called from several threads.
        slow: of which items; the others are graded one by one when they are asked for.
    """

    def __init__(self, grade: Grade, slow: Callable[[Record], bool] = lambda row: True) -> None:
        self.grade, self.slow = grade, slow
        self.known: dict[tuple[str, str], Graded] = {}

    def __call__(self, row: Record, answer: str) -> Graded:
        """See Grade."""
        key = (row["id"], str(answer))
        if key not in self.known:
            self.known[key] = self.grade(row, answer)
        return self.known[key]

    def known_first(self, settings: dict[str, Any]) -> dict[str, Any]:
        """A task's settings with a first filter that grades all answers and changes none."""

        def run(answers: list[list[str]], rows: list[Record]) -> list[list[str]]:
            pairs = [(row, answer) for row, mine in zip(rows, answers, strict=True) for answer in mine if self.slow(row)]
            jobs = {(row["id"], str(answer)): (row, answer) for row, answer in pairs}
            self.known.update(zip(jobs, each(lambda job: self.grade(*job), jobs.values()), strict=True))
            return answers

        (entry,) = settings["filter_list"]
        first = {"function": "custom", "filter_fn": run}
        return {**settings, "filter_list": [{**entry, "filter": [first, *entry["filter"]]}]}
