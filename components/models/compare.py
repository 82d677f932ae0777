"""Compares two models on the same texts: logits, divergence, most probable tokens, greedy continuations.

KL is the mean over positions of ``KL(p‖q) = Σ p (log p − log q)`` in nats, p from the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_BATCH = 16
"""Rows that are continued together."""


@dataclass(frozen=True)
class Comparison:
    """How far a model is from its reference.

    Attributes:
        max_abs: largest absolute difference of a logit.
        kl: mean KL in nats a token.
        top1: share of positions where both have the same most probable token.
        tokens_equal: whether all greedy continuations are identical (True where none was asked for).
        loss, reference_loss: mean cross-entropy on the texts, nats a token.
        positions: number of compared positions.
    """

    max_abs: float
    kl: float
    top1: float
    tokens_equal: bool
    loss: float
    reference_loss: float
    positions: int

    @property
    def finite(self) -> bool:
        """Whether every number is one: a model that yields NaN equals nothing."""
        return all(math.isfinite(x) for x in (self.max_abs, self.kl, self.top1, self.loss, self.reference_loss))


def compare(reference: Any, other: Any, rows: Sequence[Sequence[int]], continue_tokens: int = 0) -> Comparison:
    """Compares two loaded models on token rows, one row at a time so that memory stays bounded.

    Args:
        rows: token ids of the texts, each of at least two tokens.
        continue_tokens: how many tokens to continue each row greedily with, for ``tokens_equal``; 0 for none.
    """
    import torch

    max_abs, kl, same, losses, count = 0.0, 0.0, 0, [0.0, 0.0], 0
    for row in rows:
        ids = torch.tensor([list(row)])
        with torch.no_grad():
            p, q = (model(input_ids=ids.to(model.device)).logits[0].float().cpu() for model in (reference, other))
        if p.shape != q.shape:
            return Comparison(math.inf, math.inf, 0.0, False, math.inf, math.inf, 0)
        difference = float((p - q).abs().max())
        max_abs = difference if math.isnan(difference) else max(max_abs, difference)
        if math.isnan(max_abs):
            break
        log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
        kl += float((log_p.exp() * (log_p - log_q)).sum())
        same += int((p.argmax(-1) == q.argmax(-1)).sum())
        targets = ids[0, 1:, None]
        for index, values in enumerate((log_q, log_p)):
            losses[index] -= float(values[:-1].gather(-1, targets).sum())
        count += len(row)
    predicted = max(1, count - len(rows))
    if math.isnan(max_abs) or not count:
        return Comparison(math.nan, math.nan, 0.0, False, math.nan, math.nan, count)
    equal = all(a == b for a, b in _continuations(reference, other, rows, continue_tokens))
    kl = max(0.0, kl / count)
    return Comparison(max_abs, kl, same / count, equal, losses[0] / predicted, losses[1] / predicted, count)


def _continuations(first: Any, second: Any, rows: Sequence[Sequence[int]], length: int) -> Iterator[tuple[list[int], list[int]]]:
    for start in range(0, len(rows), _BATCH) if length else ():
        batch = rows[start : start + _BATCH]
        yield from zip(_continued(first, batch, length), _continued(second, batch, length), strict=True)


def _continued(model: Any, rows: Sequence[Sequence[int]], length: int) -> list[list[int]]:
    """Greedy continuations of rows that are padded on the left to one length."""
    import torch

    widest = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (widest - len(row)) + list(row) for row in rows], device=model.device)
    mask = torch.tensor([[0] * (widest - len(row)) + [1] * len(row) for row in rows], device=model.device)
    with torch.no_grad():
        whole = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=length, do_sample=False, pad_token_id=0)
    continued: list[list[int]] = whole[:, widest:].tolist()
    return continued
