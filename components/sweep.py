"""A grid of prompts and sampling settings: its cells, their answers and their scores, and a table of it all.

Scores are the benchmarks' rules, where a right answer is known, and the rewards' that need no more than a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components import methods
from components.artifacts import Estimate
from components.benchmarks._scorers import SCORERS
from components.consistency import READERS
from components.errors import InputError
from components.inference.reading import Token

LIMIT = 96
"""Answers in one grid: more than one screen of them isn't read, it is evaluated."""
RULES = ("statement", "numeric", "math_verify", "multiple_choice", "exact", "contains")
"""Rules that hold an answer against the right one."""
SHAPES = ("format", "length", "sentences")
"""Rewards that look at the text alone."""


@dataclass(frozen=True)
class Cell:
    """One place of the grid.

    Attributes:
        prompt: position of its prompt.
        sample: 0, 1, … where each place is asked several times.
    """

    prompt: int
    temperature: float
    top_p: float
    sample: int = 0


@dataclass(frozen=True)
class Grid:
    """What is asked. Prompts may hold ``{placeholders}``; they stay as they are.

    Attributes:
        answers: the right answer of each prompt, empty where none is known.

    Raises:
        InputError: for empty axes, values out of their range, or too many answers.
    """

    prompts: tuple[str, ...]
    temperatures: tuple[float, ...] = (0.0,)
    top_ps: tuple[float, ...] = (1.0,)
    samples: int = 1
    answers: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.prompts or any(not prompt.strip() for prompt in self.prompts):
            raise InputError("a grid needs at least one prompt, and none may be empty")
        axes = {"temperature": (self.temperatures, 0, 5), "top_p": (self.top_ps, 1e-6, 1), "samples": ((self.samples,), 1, LIMIT)}
        for name, (values, low, high) in axes.items():
            if not values:
                raise InputError(f"a grid needs at least one value of {name}")
            if wrong := [value for value in values if not low <= value <= high]:
                raise InputError(f"{name}={wrong[0]:g} is out of range: it lies between {low:g} and {high:g}")
        object.__setattr__(self, "cells", self._cells())
        if len(self.cells) > LIMIT:
            raise InputError(
                f"this grid has {len(self.cells)} answers, more than {LIMIT}; take fewer values, or `lapidar evaluate`"
            )

    def _cells(self) -> tuple[Cell, ...]:
        """At temperature 0 nothing is drawn: top-p and samples make no difference, so there is one cell."""
        found = []
        for prompt in range(len(self.prompts)):
            for temperature in dict.fromkeys(self.temperatures):
                drawn = temperature > 0
                tops = dict.fromkeys(self.top_ps) if drawn else {1.0: None}
                found += [Cell(prompt, temperature, p, n) for p in tops for n in range(self.samples if drawn else 1)]
        return tuple(found)

    def answer(self, cell: Cell) -> str | None:
        """The right answer of a cell's prompt, or None."""
        text = self.answers[cell.prompt].strip() if cell.prompt < len(self.answers) else ""
        return text or None


@dataclass(frozen=True)
class Outcome:
    """A cell's answer.

    Attributes:
        seconds: until it was whole.
        error: why there is none, or it is cut.
    """

    cell: Cell
    text: str = ""
    finish: str = ""
    tokens: int = 0
    seconds: float = 0.0
    logprob: float | None = None
    error: str = ""


def numbers(text: str) -> tuple[float, ...]:
    """Values of an axis as people write them.

    >>> numbers("0, 0.5; 1")
    (0.0, 0.5, 1.0)

    Raises:
        InputError: naming what is no number.
    """
    found = []
    for part in text.replace(";", ",").split(","):
        if not part.strip():
            continue
        try:
            found.append(float(part))
        except ValueError as error:
            raise InputError(f"{part.strip()!r} is no number; write values with commas between them: 0, 0.5, 1") from error
    return tuple(found)


def scorers(known: bool) -> list[str]:
    """Names of what can score a grid; ``known`` says whether right answers are."""
    return [*(RULES if known else ()), *SHAPES]


def score(name: str, text: str, answer: str | None) -> float | None:
    """One score between 0 and 1; None where it needs a right answer and there is none.

    >>> score("contains", "It listens on 8080.", "8080"), score("sentences", "He ran.", None), score("exact", "x", None)
    (1.0, 0.5, None)

    Raises:
        InputError: for an unknown score.
    """
    if name in SHAPES:
        reward = methods.load("reward", name)
        return float(reward.score(reward.Config(), text, {}))
    rule: Callable[[Sequence[str], str], tuple[bool, str | None]] | None = READERS.get(name) or SCORERS.get(name)
    if rule is None or name not in RULES:
        raise InputError(f"{name!r} scores nothing here; there are {', '.join([*RULES, *SHAPES])}")
    return None if answer is None else float(rule([answer], text)[0])


def mean_logprob(tokens: Sequence[Token]) -> float | None:
    """Mean log-probability of an answer's tokens; None where they weren't asked for."""
    return sum(token.logprob for token in tokens) / len(tokens) if tokens else None


def scored(grid: Grid, outcomes: Mapping[Cell, Outcome], names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a finished cell, in the grid's order: settings, answer, scores, and what it cost."""
    rows = []
    for cell in grid.cells:
        if (outcome := outcomes.get(cell)) is None:
            continue
        scores = {name: None if outcome.error else score(name, outcome.text, grid.answer(cell)) for name in names}
        rows.append(
            {
                "prompt": grid.prompts[cell.prompt],
                "temperature": cell.temperature,
                "top_p": cell.top_p,
                "sample": cell.sample,
                "answer": outcome.text,
                **scores,
                "finish": outcome.finish,
                "tokens": outcome.tokens,
                "seconds": round(outcome.seconds, 3),
                "mean_logprob": outcome.logprob,
                "error": outcome.error,
            }
        )
    return rows


def summary(rows: Sequence[Mapping[str, Any]], name: str) -> dict[tuple[float, float], Estimate]:
    """Mean of a score by (temperature, top-p), with its interval; settings without scores are left out."""
    from components.statistics import mean

    values: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        if row.get(name) is not None:
            values.setdefault((row["temperature"], row["top_p"]), []).append(row[name])
    return {key: mean(found) for key, found in sorted(values.items())}
