"""Chooses next tokens. A request's random numbers depend on its seed and position alone, never on its batch."""

from __future__ import annotations

import numpy as np
import torch


def noise(seed: int, indices: list[int], steps: int) -> torch.Tensor:
    """Uniform numbers in [0, 1), shape [requests, steps]: one independent stream a request."""
    streams = [np.random.Generator(np.random.Philox(key=[seed, index])).random(steps) for index in indices]
    return torch.from_numpy(np.stack(streams))


def choose(logits: torch.Tensor, temperature: float, top_p: float, uniform: torch.Tensor | None) -> torch.Tensor:
    """Next token ids, shape [rows]: the most probable at temperature 0, else a draw from the top-p nucleus.

    Args:
        logits: shape [rows, vocabulary].
        temperature: divides the logits.
        top_p: the smallest set of most probable tokens whose probability reaches it stays.
        uniform: one number in [0, 1) a row; needed above temperature 0.
    """
    if temperature == 0 or uniform is None:
        return logits.argmax(-1)
    # float64: the cumulative sum over a large vocabulary would lose rare tokens in float32.
    probabilities, tokens = (logits.double() / temperature).softmax(-1).sort(-1, descending=True)
    cumulative = probabilities.cumsum(-1)
    probabilities = probabilities.masked_fill(cumulative - probabilities >= top_p, 0.0)
    cumulative = probabilities.cumsum(-1)
    threshold = uniform.to(cumulative).unsqueeze(-1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, threshold, right=True).clamp(max=tokens.shape[-1] - 1)
    return tokens.gather(-1, drawn).squeeze(-1)
