"""What a judge is asked and what it answers; every kind of judge has the one method ``ask``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from components.judges.verdicts import Position

Kind = Literal["endpoint", "local", "reward", "baseline"]


@dataclass(frozen=True)
class Question:
    """Two answers to one prompt, in one order.

    Attributes:
        key: unique in a comparison; with the seed it decides the prompt's markers.
    """

    key: str
    prompt: str
    first: str
    second: str
    reference: str | None = None


@dataclass(frozen=True)
class Opinion:
    """What a judge said to a question.

    Attributes:
        position: the answer that it prefers; None if its output held no verdict.
        scores: rating or reward of (first, second), of judges that give any.
        raw: its output, one text a call.
        cut: whether a token limit ended an output.
        error: why it gave none.
    """

    position: Position | None
    scores: tuple[float, float] | None = None
    raw: tuple[str, ...] = ()
    cut: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Identity:
    """Which judge it is: two results with the same identity were judged in the same way.

    Attributes:
        name: of the model; a local one's ends in the beginning of its digest.
        mode: ``pairwise`` or ``rubric``; ``score`` where there is no prompt.
        prompt: id of the prompt.
        prompts: sha256 of the prompt with its criteria.
        family: who made the model, as far as its name tells or the user says.
    """

    name: str
    kind: Kind
    mode: str
    prompt: str
    prompts: str
    family: str | None = None


OnOpinion = Callable[[int, Opinion], None]
NO_PROMPT = hashlib.sha256(b"").hexdigest()


class Judge(Protocol):
    """Anything that prefers one of two answers."""

    identity: Identity

    @property
    def settings(self) -> dict[str, Any]:
        """What else decides its verdicts: goes into the key."""

    def ask(self, questions: Sequence[Question], on_opinion: OnOpinion) -> None:
        """Answers questions, in any order, each by a call of ``on_opinion``.

        Raises:
            EndpointError: if the judge can't be asked any more.
        """


_FAMILIES = {
    "anthropic": ("claude",),
    "deepseek": ("deepseek",),
    "google": ("gemini", "gemma"),
    "meta": ("llama", "vicuna", "alpaca"),
    "microsoft": ("phi-", "wizardlm"),
    "mistral": ("mistral", "mixtral", "ministral"),
    "openai": ("gpt-3", "gpt-4", "gpt-5", "gpt-oss", "o1-", "o3-", "o4-"),
    "qwen": ("qwen", "qwq"),
}


def family(name: str) -> str | None:
    """Who made a model, by its name; None if the name doesn't tell.

    >>> family("http://127.0.0.1:8000/v1#Qwen2.5-7B-Instruct"), family("models:/support/3")
    ('qwen', None)
    """
    lowered = name.lower()
    return next((maker for maker, names in _FAMILIES.items() if any(part in lowered for part in names)), None)


def by_scores(first: float, second: float) -> Position:
    """The answer with the higher score; equal scores are a tie."""
    return "tie" if first == second else "first" if first > second else "second"
