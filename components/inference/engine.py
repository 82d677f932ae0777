"""One engine for a loaded model: generates and scores token sequences in batches, the same as alone.

What sequences share is computed once (``prefixes``), and a finished answer's place is taken by the next one (``decoding``).
Greedy answers are those of transformers' ``generate``, log-probabilities those of its forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from components.errors import InputError
from components.inference.answer import Completion
from components.inference.decoding import Decoder
from components.inference.forward import Forward
from components.inference.sampling import Sampling
from components.inference.scoring import score

__all__ = ["BATCH_TOKENS", "Completion", "Engine", "Sampling"]

BATCH_TOKENS = 32768
_CPU_TOKENS = 4096  # of one forward pass: what it holds between two operations then stays in the processor's cache
_MOST_ROWS = 256


class Engine:
    """Generates and scores with one model.

    Args:
        model: a causal language model of transformers, with or without PEFT adapters; put into evaluation mode.
        device: where the model is.
        on_progress: called with (requests done, requests in this call).
        fuse: whether a small model of a known kind is computed by our own forward pass instead of its modules.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        device: str = "cpu",
        on_progress: Callable[[int, int], None] | None = None,
        *,
        fuse: bool = True,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.device = device
        self.on_progress = on_progress
        self.fuse = fuse
        self._made: Forward | None = None
        self.end_ids = _end_ids(model, tokenizer)
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self.end_ids, default=0)

    @property
    def context(self) -> int:
        """The longest sequence in tokens that the model was made for."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def _forward(self) -> Forward:
        if self._made is None or not self._made.current:
            self._made = Forward(self.model, self.pad_id, self.device, self.fuse)
        return self._made

    def decoder(self, batch_tokens: int = BATCH_TOKENS, remember: bool = False) -> Decoder:
        """A decoder to drive step by step, for requests that come and go.

        Args:
            remember: keep what was computed for finished answers: for conversations.
        """
        return Decoder(
            self._forward,
            self.tokenizer,
            self.end_ids,
            context=self.context,
            batch_tokens=batch_tokens,
            prefill_tokens=self._pass_tokens(batch_tokens),
            most_rows=_MOST_ROWS,
            remember=remember,
        )

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        positions: Sequence[int] | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Completion]:
        """Answers to tokenized prompts, in their order, ``sampling.n`` to each.

        Args:
            prompts: token ids, of any lengths.
            positions: with the seed they decide the prompts' draws; 0, 1, … if not given.
            batch_tokens: prompt and answer tokens that a batch holds at most.

        Raises:
            InputError: if a prompt is empty or fills the model's context.
        """
        self._check([len(prompt) for prompt in prompts], self.context - 1, "prompts")
        decoder = self.decoder(batch_tokens)
        # Longest first, so that memory runs out at once or never; of equal length in the order of their tokens, so that
        # prompts that share a beginning are read together.
        order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), list(prompts[i]), i))
        owners = {decoder.submit(prompts[i], sampling, i if positions is None else positions[i]): i for i in order}
        answers: dict[int, Completion] = {}
        while not decoder.idle:
            for event in decoder.step():
                if event.completion is not None:
                    answers[owners[event.request] * sampling.n + event.sample] = event.completion
                    self._progress(len(answers), len(prompts) * sampling.n)
        return [answers[i] for i in range(len(prompts) * sampling.n)]

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
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._progress(done, len(pairs))

        with torch.inference_mode():
            return score(self._forward, pairs, self._pass_tokens(batch_tokens), count)

    def _pass_tokens(self, batch_tokens: int) -> int:
        return min(batch_tokens, _CPU_TOKENS) if self.device == "cpu" else batch_tokens

    def _progress(self, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(done, total)

    def _check(self, lengths: list[int], limit: int, what: str) -> None:
        if empty := sum(length == 0 for length in lengths):
            raise InputError(f"{empty} of {len(lengths)} {what} are empty; the model needs at least one token to start from")
        if long := sum(length > limit for length in lengths):
            raise InputError(
                f"{long} of {len(lengths)} {what} don't fit: the longest has {max(lengths)} tokens, the model's context "
                f"allows {limit}; shorten or drop them, or choose a model with a longer context"
            )


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: those of the generation config and the tokenizer's end token."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {i for i in [*ids, tokenizer.eos_token_id] if i is not None}
