"""Chooses next tokens. A request's random numbers depend on its seed and position alone, never on its batch.

The filters are those of transformers, in its order: repetition penalty, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from components.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """How a prompt is answered.

    Attributes:
        max_new_tokens: longer answers are cut.
        temperature: divides the logits; 0 takes the most probable token and makes the filters below meaningless.
        top_p: draws come from the smallest set of most probable tokens that has this probability.
        top_k: only so many most probable tokens are drawn from; 0 for all.
        min_p: tokens less probable than this share of the most probable one are left out.
        repetition_penalty: logits of tokens that stand in the prompt or the answer are divided by it, negative ones multiplied.
        stop: an answer ends before the first of these strings.
        seed: with a prompt's position and the number of its sample it decides the draws above temperature 0.
        n: answers to each prompt; its tokens are read once for all of them.

    Raises:
        InputError: if a value is out of its range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    n: int = 1

    def __post_init__(self) -> None:
        ranges = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "temperature": (0 <= self.temperature < float("inf"), "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (all tokens) or more"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (0 < self.repetition_penalty < float("inf"), "above 0"),
            "n": (self.n >= 1, "1 or more"),
            "seed": (0 <= self.seed < 2**64, "between 0 and 2**64 - 1"),
        }
        for name, (right, wanted) in ranges.items():
            if not right:
                raise InputError(f"{name}={getattr(self, name)}: has to be {wanted}")

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0


def stream(seed: int, index: int, sample: int = 0) -> np.random.Generator:
    """The random numbers of one answer: an independent stream for each (seed, prompt's position, number of the sample)."""
    return np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, sample]))


def penalise(logits: torch.Tensor, seen: Sequence[Sequence[int]], penalties: Sequence[float]) -> torch.Tensor:
    """Logits after the repetition penalty (arXiv 1909.05858, section 4.1).

    Args:
        logits: shape [rows, vocabulary].
        seen: each row's prompt and answer so far.
        penalties: one a row; 1 changes nothing.
    """
    logits = logits.clone()
    for row, (ids, penalty) in enumerate(zip(seen, penalties, strict=True)):
        if penalty != 1:
            tokens = torch.tensor(sorted(set(ids)), device=logits.device)
            values = logits[row, tokens]
            logits[row, tokens] = torch.where(values < 0, values * penalty, values / penalty)
    return logits


def nucleus(logits: torch.Tensor, sampling: Sequence[Sampling]) -> tuple[torch.Tensor, torch.Tensor]:
    """(probabilities, token ids), each of shape [rows, vocabulary], most probable first; filtered tokens have probability 0.

    Args:
        logits: shape [rows, vocabulary], after the repetition penalty.
        sampling: one a row, with temperatures above 0.
    """
    # float64: the cumulative sum over a large vocabulary would lose rare tokens in float32.
    scaled = logits.double() / _column([s.temperature for s in sampling], logits)
    scores, tokens = scaled.sort(dim=-1, descending=True, stable=True)
    if any(s.top_k for s in sampling):
        last = _column([min(s.top_k or scores.shape[-1], scores.shape[-1]) - 1 for s in sampling], logits).long()
        scores = scores.masked_fill(scores < scores.gather(-1, last), float("-inf"))  # ties with the last one stay
    probabilities = scores.softmax(-1)
    if any(s.top_p < 1 for s in sampling):
        before = probabilities.cumsum(-1) - probabilities
        top_p = _column([s.top_p if s.top_p < 1 else float("inf") for s in sampling], logits)
        probabilities = probabilities.masked_fill(before >= top_p, 0.0)
    if any(s.min_p for s in sampling):
        floor = probabilities[:, :1] * _column([s.min_p for s in sampling], logits)
        probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
    return probabilities, tokens


def choose(logits: torch.Tensor, sampling: Sequence[Sampling], uniform: Sequence[float]) -> torch.Tensor:
    """Next token ids, shape [rows]: the most probable at temperature 0, else a draw from what the filters leave.

    Args:
        logits: shape [rows, vocabulary], after the repetition penalty.
        sampling: one a row.
        uniform: one number in [0, 1) a row; only read above temperature 0.
    """
    chosen = logits.argmax(-1)
    rows = [row for row, s in enumerate(sampling) if not s.greedy]
    if not rows:
        return chosen
    probabilities, tokens = nucleus(logits[rows], [sampling[row] for row in rows])
    cumulative = probabilities.cumsum(-1)
    threshold = _column([uniform[row] for row in rows], logits) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, threshold, right=True).clamp(max=tokens.shape[-1] - 1)
    chosen[rows] = tokens.gather(-1, drawn).squeeze(-1)
    return chosen


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device).unsqueeze(-1)
