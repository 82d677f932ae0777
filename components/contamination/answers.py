"""What tests of a model's memory share: how probable it finds a text, token by token, and what a test says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from components.contamination.wording import Array


@dataclass(frozen=True)
class Finding:
    """What a test of a model says of a benchmark.

    Attributes:
        flagged: scores of the flagged items by their index.
        figures: JSON-ready numbers that it rests on.
    """

    state: Literal["clean", "contaminated", "not checked"]
    reason: str
    flagged: Mapping[int, float] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """A model that is asked.

    Attributes:
        model: a causal language model of transformers in evaluation mode.
        context: its longest sequence in tokens.
    """

    model: Any
    tokenizer: Any
    context: int

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    @property
    def start(self) -> int:
        """The token that a text is read after."""
        tokenizer = self.tokenizer
        return int(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id or 0)

    def read(self, texts: Sequence[Sequence[int]], batch: int = 16) -> Iterator[tuple[Array, Array, Array]]:
        """For each text the log-probability of every token, and mean and deviation of log p under p at its place (nats)."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, tuple[Array, Array, Array]] = {}
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            found |= dict(zip(rows, self._batch([texts[i][: self.context - 1] for i in rows]), strict=True))
        yield from (found[i] for i in range(len(texts)))

    def _batch(self, texts: Sequence[Sequence[int]]) -> list[tuple[Array, Array, Array]]:
        import torch

        width = max(map(len, texts)) + 1
        ids = torch.full((len(texts), width), self.start)
        mask = torch.zeros(ids.shape, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, 1 : len(text) + 1] = torch.tensor(list(text))
            mask[row, : len(text) + 1] = 1
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            logits = self.model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
            logp = logits[:, :-1].float().log_softmax(-1)
            p = logp.exp()
            mean = (p * logp).nan_to_num(0.0).sum(-1)
            deviation = ((p * logp.square()).nan_to_num(0.0).sum(-1) - mean.square()).clamp_min(0).sqrt()
            token = logp.gather(-1, ids[:, 1:, None].to(device)).squeeze(-1)
        return [
            tuple(np.asarray(values[row, : len(text)].cpu(), np.float64) for values in (token, mean, deviation))  # type: ignore[misc]
            for row, text in enumerate(texts)
        ]
