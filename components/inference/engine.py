"""One engine for a loaded model: generates and scores token sequences in batches, the same as alone.

Requests are sorted by length and padded on the left. Rows that finish leave their batch, cache included, so a few long
answers don't keep the others waiting. Greedy answers are those of transformers' ``generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import DynamicCache

from components.errors import InputError
from components.inference.batching import by_budget, halving, left_pad
from components.inference.sampling import choose, noise

BATCH_TOKENS = 32768


@dataclass(frozen=True)
class Completion:
    """A generated answer.

    Attributes:
        ids: generated tokens, with the end token if there was one.
        text: their text without special tokens, cut before the first stop string.
        finish: ``stop`` at an end token or a stop string, ``length`` where the limit or the context cut it.
    """

    ids: list[int]
    text: str
    finish: Literal["stop", "length"]


@dataclass
class _Row:
    """A request while it is being decoded."""

    index: int
    limit: int
    ids: list[int] = field(default_factory=list)


class Engine:
    """Generates and scores with one model.

    Args:
        model: a causal language model of transformers, with or without PEFT adapters; put into evaluation mode.
        device: where the model is.
        on_progress: called with (requests done, requests in this call).
    """

    def __init__(
        self, model: Any, tokenizer: Any, device: str = "cpu", on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.device = device
        self.on_progress = on_progress
        self.end_ids = _end_ids(model, tokenizer)
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self.end_ids, default=0)

    @property
    def context(self) -> int:
        """The longest sequence in tokens that the model was made for."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int = 0,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Completion]:
        """Answers to tokenized prompts, in their order.

        Args:
            prompts: token ids, of any lengths.
            max_new_tokens: longer answers are cut.
            temperature: 0 takes the most probable token.
            top_p: draws come from the smallest set of tokens that has this probability.
            stop: an answer ends before the first of these strings.
            seed: with a prompt's position it decides that prompt's draws above temperature 0.
            batch_tokens: prompt and answer tokens that a batch holds at most.

        Raises:
            InputError: if a prompt is empty or fills the model's context.
        """
        self._check([len(prompt) for prompt in prompts], self.context - 1, "prompts")
        lengths = [min(len(prompt) + max_new_tokens, self.context) for prompt in prompts]

        def decode(batch: list[int]) -> list[Completion]:
            rows = [_Row(i, lengths[i] - len(prompts[i])) for i in batch]
            uniform = noise(seed, batch, max_new_tokens).to(self.device) if temperature else None
            return self._decode([prompts[i] for i in batch], rows, temperature, top_p, stop, uniform)

        return self._batched(decode, by_budget(lengths, batch_tokens), len(prompts))

    def loglikelihood(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, batch_tokens: int = BATCH_TOKENS
    ) -> list[tuple[float, bool]]:
        """For each (context, continuation): the continuation's summed log-probability in nats, and whether it is greedy.

        Raises:
            InputError: if a context or continuation is empty or both together don't fit into the model's context.
        """
        self._check(
            [min(len(context), len(rest)) and len(context) + len(rest) - 1 for context, rest in pairs],
            self.context,
            "pairs",
        )
        lengths = [len(context) + len(continuation) for context, continuation in pairs]

        def score(batch: list[int]) -> list[tuple[float, bool]]:
            return self._score([pairs[i] for i in batch])

        return self._batched(score, by_budget(lengths, batch_tokens), len(pairs))

    def _check(self, lengths: list[int], limit: int, what: str) -> None:
        if empty := sum(length == 0 for length in lengths):
            raise InputError(f"{empty} of {len(lengths)} {what} are empty; the model needs at least one token to start from")
        if long := sum(length > limit for length in lengths):
            raise InputError(
                f"{long} of {len(lengths)} {what} don't fit: the longest has {max(lengths)} tokens, the model's context "
                f"allows {limit}; shorten or drop them, or choose a model with a longer context"
            )

    def _batched(self, work: Callable[[list[int]], list[Any]], batches: list[list[int]], total: int) -> list[Any]:
        results: list[Any] = [None] * total
        done = 0
        with torch.inference_mode():
            for batch in batches:
                for index, result in zip(batch, halving(work, batch), strict=True):
                    results[index] = result
                done += len(batch)
                if self.on_progress is not None:
                    self.on_progress(done, total)
        return results

    def _decode(
        self,
        prompts: list[Sequence[int]],
        rows: list[_Row],
        temperature: float,
        top_p: float,
        stop: Sequence[str],
        uniform: torch.Tensor | None,
    ) -> list[Completion]:
        """Decodes one batch; ``rows`` shrinks while their requests finish."""
        finished: dict[int, Completion] = {}
        order = [row.index for row in rows]
        ids, mask, positions = left_pad(prompts, self.pad_id, self.device)
        cache = DynamicCache(config=self.model.config)
        step = 0
        while rows:
            logits = self._logits(ids, mask, positions, 1, past_key_values=cache, use_cache=True)[:, -1]
            tokens = choose(logits, temperature, top_p, None if uniform is None else uniform[:, step])
            step += 1
            keep = []
            for place, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
                row.ids.append(token)
                if (completion := self._finished(row, stop)) is None:
                    keep.append(place)
                else:
                    finished[row.index] = completion
            if keep and len(keep) < len(rows):
                kept = torch.tensor(keep, device=self.device)
                cache.batch_select_indices(kept)
                tokens, mask, positions = tokens[kept], mask[kept], positions[kept]
                uniform = None if uniform is None else uniform[kept]
            rows = [rows[place] for place in keep]
            ids = tokens.unsqueeze(-1)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
            positions = positions[:, -1:] + 1
        return [finished[index] for index in order]

    def _finished(self, row: _Row, stop: Sequence[str]) -> Completion | None:
        if row.ids[-1] in self.end_ids:
            return Completion(row.ids, self._text(row.ids, stop), "stop")
        if stop and self._stopped(row.ids, stop):
            return Completion(row.ids, self._text(row.ids, stop), "stop")
        if len(row.ids) >= row.limit:
            return Completion(row.ids, self._text(row.ids, stop), "length")
        return None

    def _stopped(self, ids: list[int], stop: Sequence[str]) -> bool:
        """Whether the text holds a stop string; the whole text is only decoded where its end looks like one."""
        window = max(map(len, stop)) + 8
        tail = self.tokenizer.decode(ids[-window:], skip_special_tokens=True)
        if not any(s in tail for s in stop):
            return False
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return any(s in text for s in stop)

    def _text(self, ids: list[int], stop: Sequence[str]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text[: min([len(text), *(found for s in stop if (found := text.find(s)) >= 0)])]

    def _score(self, pairs: list[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        ids, mask, positions = left_pad([[*context, *rest][:-1] for context, rest in pairs], self.pad_id, self.device)
        keep = max(len(rest) for _, rest in pairs)
        logits = self._logits(ids, mask, positions, keep)
        results = []
        for row, (_, rest) in zip(logits, pairs, strict=True):
            target = torch.tensor(list(rest), device=self.device)
            scores = row[-len(rest) :].float().log_softmax(-1)
            chosen = scores.gather(-1, target.unsqueeze(-1))
            results.append((chosen.sum().item(), bool((scores.argmax(-1) == target).all())))
        return results

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int, **cache: Any) -> torch.Tensor:
        """Logits of the last ``keep`` positions, shape [rows, keep, vocabulary]."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=keep,
            **({"use_cache": False} | cache),
        )
        logits: torch.Tensor = output.logits
        return logits[:, -keep:]


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: those of the generation config and the tokenizer's end token."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {i for i in [*ids, tokenizer.eos_token_id] if i is not None}
