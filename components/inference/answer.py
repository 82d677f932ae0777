"""Answers in the making: what a request asked for, what was said so far, and what each new token means for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from components.inference.constraints import State
from components.inference.kv_cache import KVCache, Usage
from components.inference.sampling import Sampling
from components.inference.text import Stops


@dataclass(frozen=True)
class Completion:
    """A generated answer.

    Attributes:
        ids: generated tokens, with the end token if there was one.
        text: their text without special tokens, cut before the first stop string.
        finish: ``stop`` at an end token, a stop string or the end of a grammar, ``length`` where the limit or the context cut
            it, or where the model has no token that its grammar allows.
        usage: what a compressed cache took at its end.
    """

    ids: list[int]
    text: str
    finish: Literal["stop", "length"]
    usage: Usage | None = None


class Event(NamedTuple):
    """What a step did for one answer.

    Attributes:
        request: id that ``submit`` gave.
        sample: which of the request's ``n`` answers.
        token: the new token.
        completion: the whole answer, once it is finished.
        logprob: the token's log-probability in nats as the model gives it: before temperature, filters and constraint.
        alternatives: the most probable tokens with theirs, as many as asked for.
        reused: on an answer's first event: tokens of the prompt whose keys and values were there from earlier requests.
    """

    request: int
    sample: int
    token: int
    completion: Completion | None
    logprob: float | None
    alternatives: list[tuple[int, float]]
    reused: int


@dataclass(eq=False)
class Answer:
    """An answer that waits or runs.

    Attributes:
        ids: prompt and answer; one that has to wait again is read from there.
        prompt: how many of them are the prompt's.
        limit: tokens that the answer has at most.
        logprobs: alternatives to give with each token; None for no log-probabilities.
        state: where it is in its grammar.
        cache: its compressed cache, shared with the request's other answers.
        room: tokens that prompt and answer come to at most.
    """

    request: int
    sample: int
    ids: list[int]
    prompt: int
    limit: int
    sampling: Sampling
    stops: Stops
    random: np.random.Generator
    logprobs: int | None = None
    state: State | None = None
    cache: KVCache | None = None
    reused: int = 0

    def __post_init__(self) -> None:
        self.room = self.prompt + self.limit
        self._greedy = self.sampling.greedy and self.sampling.repetition_penalty == 1 and self.logprobs is None

    @property
    def plain(self) -> bool:
        """Whether its next token is the most probable one, and nothing else is asked for."""
        return self._greedy and self.state is None

    def add(self, token: int, end_ids: set[int]) -> Completion | None:
        """Appends a token; gives the whole answer if this ended it."""
        self.ids.append(token)
        finish = self._finish(token, end_ids)
        if finish is None:
            return None
        ids = self.ids[self.prompt :]
        return Completion(ids, self.stops.text(ids), finish, self.cache.share if self.cache is not None else None)

    def _finish(self, token: int, end_ids: set[int]) -> Literal["stop", "length"] | None:
        if self.state is not None and not self.state.consume(token):
            return "length"
        if token in end_ids or (self.state is not None and self.state.complete):
            return "stop"
        if self.stops.strings and self.stops.appeared(self.ids[self.prompt :]):
            return "stop"
        return "length" if len(self.ids) >= self.room else None


def logprobs(
    logits: torch.Tensor, wanted: Sequence[int | None]
) -> dict[int, Callable[[int], tuple[float, list[tuple[int, float]]]]]:
    """For each row that wants it: what gives a token's log-probability and the most probable tokens with theirs."""
    rows = [row for row, most in enumerate(wanted) if most is not None]
    if not rows:
        return {}
    values = logits[rows].float().log_softmax(-1)
    most = min(max(wanted[row] or 0 for row in rows), values.shape[-1])
    best, tokens = (part.tolist() for part in values.topk(most, -1)) if most else ([[]] * len(rows), [[]] * len(rows))

    def one(i: int, row: int) -> Callable[[int], tuple[float, list[tuple[int, float]]]]:
        alternatives = list(zip(tokens[i], best[i], strict=True))[: wanted[row]]
        return lambda token: (float(values[i, token]), alternatives)

    return {row: one(i, row) for i, row in enumerate(rows)}
