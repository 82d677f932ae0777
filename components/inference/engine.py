"""One engine for a loaded model: generates and scores token sequences in batches, the same as alone.

What sequences share is computed once (``prefixes``), and a finished answer's place is taken by the next one (``decoding``).
Greedy answers are those of transformers' ``generate``, log-probabilities those of its forward pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from components.errors import InputError
from components.inference.answer import Completion
from components.inference.caches import Slots
from components.inference.decoding import Decoder
from components.inference.forward import Forward
from components.inference.sampling import Sampling
from components.inference.scoring import score
from components.inference.workers import Workers, possible, single_threaded, split

__all__ = ["BATCH_TOKENS", "Completion", "Engine", "Sampling"]

_log = logging.getLogger(__name__)
BATCH_TOKENS = 32768
_CPU_TOKENS = 1024  # of one forward pass: what it holds between two operations then stays in a core's own cache
_MOST_ROWS = 256
_STEP_COST = 8  # of a generated token, in tokens that are read
_LEAST_COST = 1 << 11  # of a process's share
_KEPT_BYTES = 1 << 28  # of keys and values, between two calls
_NEAR_BYTES = 6 << 20  # of keys and values that each step reads: on a CPU, what stays in the processor's cache until the next one
_LEAST_ROWS = 16  # fewer take as long as so many, wherever their keys and values are


@dataclass(frozen=True)
class _Job:
    """What is done with requests: they are answered, or continuations are scored."""

    answers: bool
    batch_tokens: int


class Engine:
    """Generates and scores with one model.

    Args:
        model: a causal language model of transformers, with or without PEFT adapters; put into evaluation mode.
        device: where the model is.
        on_progress: called with (requests done, requests in this call).
        fuse: whether a small model of a known kind is computed by our own forward pass instead of its modules.
        processes: how many share the requests of one call at most, if the model is such a small one and on a CPU; as many as
            torch would use threads if not given.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        device: str = "cpu",
        on_progress: Callable[[int, int], None] | None = None,
        *,
        fuse: bool = True,
        processes: int | None = None,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.device = device
        self.on_progress = on_progress
        self.fuse = fuse
        self.processes = processes
        self._workers: Workers | None = None
        self._copied: Forward | None = None
        self._made: Forward | None = None
        self._kept: tuple[Forward, Slots] | None = None
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

    def decoder(
        self,
        batch_tokens: int = BATCH_TOKENS,
        *,
        remember: bool = False,
        slots: Slots | None = None,
        most_rows: int = _MOST_ROWS,
    ) -> Decoder:
        """A decoder to drive step by step, for requests that come and go.

        Args:
            remember: keep what was computed for finished answers: for conversations.
            most_rows: answers that run at once; others wait.
            slots: empty ones, if they aren't to be new.
        """
        return Decoder(
            self._forward,
            self.tokenizer,
            self.end_ids,
            context=self.context,
            batch_tokens=batch_tokens,
            prefill_tokens=self._pass_tokens(batch_tokens),
            most_rows=most_rows,
            remember=remember,
            slots=slots,
        )

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling | Sequence[Sampling],
        *,
        positions: Sequence[int] | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Completion]:
        """Answers to tokenized prompts, in their order, ``sampling.n`` to each.

        Args:
            prompts: token ids, of any lengths.
            sampling: of all prompts, or of each.
            positions: with the seed they decide the prompts' draws; 0, 1, … if not given.
            batch_tokens: prompt and answer tokens that a batch holds at most.

        Raises:
            InputError: if a prompt is empty or fills the model's context.
        """
        self._check([len(prompt) for prompt in prompts], self.context - 1, "prompts")
        each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
        requests = list(zip(prompts, each, positions or range(len(prompts)), strict=True))
        costs = [_STEP_COST * s.n * min(s.max_new_tokens, self.context - len(prompt)) for prompt, s, _ in requests]
        answers = self._shared(_Job(True, batch_tokens), requests, prompts, costs, sum(s.n for s in each))
        return [completion for several in answers for completion in several]

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
        contexts, costs = [pair[0] for pair in pairs], [len(pair[1]) for pair in pairs]
        return self._shared(_Job(False, batch_tokens), list(pairs), contexts, costs, len(pairs))

    def _shared(
        self, job: _Job, requests: list[Any], contexts: Sequence[Sequence[int]], costs: Sequence[int], total: int
    ) -> list[Any]:
        """The results of a job on the requests, by as many processes as it is worth; ``total`` of them to count."""
        finished = 0

        def done(more: int) -> None:
            nonlocal finished
            finished += more
            if self.on_progress is not None:
                self.on_progress(finished, total)

        forward = self._forward  # made here, so that what is forked has it
        most = torch.get_num_threads() if self.processes is None else self.processes
        if most == 1 or self.device != "cpu" or not possible() or not forward.packs or forward.fused is None:
            return self._work(job, requests, done)
        shares = split(contexts, costs, _LEAST_COST, most)
        if len(shares) == 1:
            with single_threaded():  # so little that threads gain nothing, and where cores are busy they wait for each other
                return self._work(job, requests, done)
        try:
            workers = self._helpers(len(shares) - 1)
        except OSError as error:
            _log.warning("all requests are computed by one process: %s", error)
            return self._work(job, requests, done)
        found = workers.run(self._work, job, [[requests[i] for i in share] for share in shares], done)
        results = [None] * len(requests)
        for share, mine in zip(shares, found, strict=True):
            for i, result in zip(share, mine, strict=True):
                results[i] = result
        return results

    def _helpers(self, count: int) -> Workers:
        """Processes that were forked since the weights changed."""
        if self._workers is None or len(self._workers) < count or self._copied is not self._made:
            if self._workers is not None:
                self._workers.close()
            self._workers, self._copied = Workers(self._work, count), self._made
        return self._workers

    def _work(self, job: _Job, requests: list[Any], done: Callable[[int], None]) -> list[Any]:
        if job.answers:
            return self._answers(job.batch_tokens, requests, done)
        with torch.inference_mode():
            return score(self._forward, requests, self._pass_tokens(job.batch_tokens), done)

    def _answers(
        self, batch_tokens: int, requests: list[tuple[Sequence[int], Sampling, int]], done: Callable[[int], None]
    ) -> list[list[Completion]]:
        """To each (prompt, sampling, position)."""
        # Longest first, so that memory runs out at once or never; of equal length in the order of their tokens, so that
        # prompts that share a beginning are read together.
        room = [min(len(prompt) + sampling.max_new_tokens, self.context) for prompt, sampling, _ in requests]
        decoder = self.decoder(batch_tokens, slots=self._slots(), most_rows=self._rows(max(room, default=1)))
        order = sorted(range(len(requests)), key=lambda i: (-room[i], list(requests[i][0]), i))
        owners = {decoder.submit(*requests[i]): i for i in order}
        answers: list[dict[int, Completion]] = [{} for _ in requests]
        while not decoder.idle:
            for event in decoder.step():
                if event.completion is not None:
                    answers[owners[event.request]][event.sample] = event.completion
                    done(1)
        return [[mine[sample] for sample in sorted(mine)] for mine in answers]

    def _slots(self) -> Slots:
        """Empty ones, in memory that was used before."""
        forward = self._forward
        if self._kept is None or self._kept[0] is not forward:
            self._kept = (forward, forward.slots())
        self._kept[1].clear(_KEPT_BYTES)
        return self._kept[1]

    def _rows(self, room: int) -> int:
        """How many answers of up to ``room`` tokens run at once where all are there from the start."""
        token = self._forward.token_bytes
        return _MOST_ROWS if token is None else min(max(_NEAR_BYTES // (room * token), _LEAST_ROWS), _MOST_ROWS)

    def _pass_tokens(self, batch_tokens: int) -> int:
        return min(batch_tokens, _CPU_TOKENS) if self.device == "cpu" else batch_tokens

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
