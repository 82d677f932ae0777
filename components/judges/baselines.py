"""Judges without a model, to hold others against: what a judge must beat before its verdicts mean anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from components.judges.asking import NO_PROMPT, Identity, OnOpinion, Opinion, Question, by_scores
from components.judges.verdicts import Position


def _draw(question: Question) -> Position:
    digest = hashlib.sha256(f"{question.key} {question.first} {question.second}".encode()).digest()
    return "first" if digest[0] % 2 else "second"


BASELINES: dict[str, Callable[[Question], Position]] = {
    "first": lambda question: "first",
    "longest": lambda question: by_scores(len(question.first), len(question.second)),
    "random": _draw,
    "shortest": lambda question: by_scores(-len(question.first), -len(question.second)),
}


class Baseline:
    """A rule of a name: ``first``, ``longest``, ``shortest`` (in characters), ``random``."""

    def __init__(self, name: str) -> None:
        self.identity = Identity(name, "baseline", "score", "none", NO_PROMPT)
        self._rule = BASELINES[name]

    @property
    def settings(self) -> dict[str, Any]:
        """A rule has none."""
        return {}

    def ask(self, questions: Sequence[Question], on_opinion: OnOpinion) -> None:
        """Applies the rule."""
        for index, question in enumerate(questions):
            on_opinion(index, Opinion(self._rule(question)))
