"""Generation with continuous batching: a finished row's place is taken by the next request.

``Decoder`` is driven step by step: ``submit`` requests at any time, ``step`` appends one token to every running row and gives
what happened, ``cancel`` frees a request's rows at once. A whole set of prompts (``Engine.generate``) and a server use it
alike. Prompts are read in batches; equal ones once, and what several begin with once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from itertools import count
from typing import Any

import torch

from components.config import MethodConfig
from components.inference.answer import Answer, Event
from components.inference.answer import logprobs as logprobs_of
from components.inference.batching import by_budget, halving, out_of_memory
from components.inference.caches import Prefix, Slots
from components.inference.constraints import Constraint
from components.inference.forward import Forward
from components.inference.known import Known
from components.inference.kv_cache import KVCache
from components.inference.prefixes import PREFIX_TOKENS, Row, Shared, plan, tree
from components.inference.sampling import Sampling, choose, penalise, stream
from components.inference.scoring import prefill
from components.inference.text import Stops

_MOST_STOPS = 64


class Decoder:
    """Generates with one model.

    Args:
        end_ids: tokens that end an answer.
        context: tokens that a prompt and its answer hold at most.
        batch_tokens: tokens that all running rows may come to hold, padding included.
        prefill_tokens: tokens of prompts that are read in one forward pass.
        most_rows: rows that run at once.
        remember: keep what was computed for finished answers, so that a conversation's next turn begins behind it.
        slots: memory of an earlier decoder that has come to its end.
    """

    def __init__(
        self,
        forward: Forward,
        tokenizer: Any,
        end_ids: set[int],
        *,
        context: int,
        batch_tokens: int,
        prefill_tokens: int,
        most_rows: int,
        remember: bool = False,
        slots: Slots | None = None,
    ) -> None:
        self.forward = forward
        self.tokenizer = tokenizer
        self.end_ids = end_ids
        self.context = context
        self.batch_tokens = batch_tokens
        self.prefill_tokens = prefill_tokens
        self.most_rows = most_rows
        self.remember = remember
        self._requests = count()
        self._waiting: deque[Answer] = deque()
        self._running: list[Answer] = []
        self._compressed: list[list[Answer]] = []  # those of one cache together
        self._to_compress: deque[list[Answer]] = deque()
        if slots is not None:
            self._slots = slots
        self._known = Known(batch_tokens // 4)
        self._stops: dict[tuple[str, ...], Stops] = {}

    @cached_property
    def _slots(self) -> Slots:
        return self.forward.slots()

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not (self._waiting or self._running or self._compressed or self._to_compress)

    def submit(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        index: int | None = None,
        *,
        logprobs: int | None = None,
        constraint: Constraint | None = None,
        kv: MethodConfig | None = None,
    ) -> int:
        """Queues a prompt and gives its id.

        Args:
            prompt: at least one and at most ``context`` - 1 token ids.
            index: with the seed it decides the draws; the id if not given.
            logprobs: alternatives to give with each token's log-probability; None for neither.
            constraint: what the answers have to follow.
            kv: method of ``components/inference/kv`` that bounds the request's cache; it shares its steps with no other request.

        Raises:
            InputError: if the model can't follow the constraint, or the method doesn't fit its layers.
        """
        request = next(self._requests)
        if len(self._stops) >= _MOST_STOPS:
            self._stops.clear()  # requests may each bring strings of their own, for ever
        stops = self._stops.setdefault(sampling.stop, Stops(self.tokenizer, sampling.stop))
        limit = min(sampling.max_new_tokens, self.context - len(prompt))
        made = []
        for sample in range(sampling.n):
            random = stream(sampling.seed, request if index is None else index, sample)
            answer = Answer(request, sample, list(prompt), len(prompt), limit, sampling, stops, random, logprobs)
            if constraint is not None:
                answer.state = constraint.state(self.end_ids)
            made.append(answer)
        if kv is None:
            self._waiting.extend(made)
            return request
        together = max(1, min(self.most_rows, self.batch_tokens // made[0].room))
        for answers in (made[i : i + together] for i in range(0, len(made), together)):
            cache = KVCache(self.forward.model, kv)
            for answer in answers:
                answer.cache = cache
            self._to_compress.append(answers)
        return request

    def cancel(self, request: int) -> None:
        """Drops a request's unfinished answers; their places are free for the next step."""
        self._waiting = deque(answer for answer in self._waiting if answer.request != request)
        self._to_compress = deque(answers for answers in self._to_compress if answers[0].request != request)
        self._compressed = [answers for answers in self._compressed if answers[0].request != request]
        with torch.inference_mode():  # in which the caches were made, so outside of it they can't be written
            self._leave([row for row, answer in enumerate(self._running) if answer.request == request])

    def step(self) -> list[Event]:
        """Reads the prompts that there is room for; if there is none, appends a token to every running row.

        Raises:
            torch.cuda.OutOfMemoryError, MemoryError, RuntimeError: if memory is too small for a single row.
        """
        return [*self._step(), *self._step_compressed()]

    def _step(self) -> list[Event]:
        while self._waiting or self._running:
            arriving = self._arriving()
            try:
                with torch.inference_mode():
                    return self._read(arriving) if arriving and self.forward.packs else self._advance(arriving)
            except (RuntimeError, MemoryError) as error:
                rows = len(self._running) + len(arriving)
                if rows == 1 or not out_of_memory(error):
                    raise
            # Outside the except block, where no traceback holds the failed tensors any more.
            self.most_rows = rows // 2
            self._waiting.extendleft(reversed([answer for answer in [*self._running, *arriving]]))
            self._running = []
            self._slots.clear()
            self._known = Known(0)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return []

    def _arriving(self) -> list[Answer]:
        """Takes from the queue what there is room for; while others run, only enough at once to be worth stopping them."""
        longest = max((answer.room for answer in self._running), default=0)
        taken: list[Answer] = []
        for answer in self._waiting:
            longest = max(longest, answer.room)
            rows = len(self._running) + len(taken) + 1
            if rows > 1 and (rows > self.most_rows or rows * longest > self.batch_tokens):
                break
            taken.append(answer)
        if len(taken) < min(len(self._waiting), len(self._running) // 8):
            return []
        for _ in taken:
            self._waiting.popleft()
        return taken

    def _read(self, arriving: list[Answer]) -> list[Event]:
        """Reads prompts, equal ones once, and chooses their first tokens."""
        same: dict[tuple[int, ...], list[Answer]] = {}
        for answer in arriving:
            same.setdefault(tuple(answer.ids), []).append(answer)
        groups = list(same.values())
        if self.remember:
            for ids, answers in same.items():
                answers[0].reused = self._known.covers(ids)
        running = [*self._running, *arriving]
        self._slots.expect(len(running), max(answer.room for answer in running))
        order: list[Answer] = []
        logits: list[torch.Tensor] = []
        for job, prefix, last in self._prefilled(list(same)):
            for answer in groups[job]:
                self._slots.put(len(self._running) + len(order), prefix, answer.room)
                order.append(answer)
                logits.append(last)
        self._running.extend(order)
        return self._append(torch.stack(logits), len(self._running) - len(order))

    def _prefilled(self, prompts: Sequence[Sequence[int]]) -> list[tuple[int, Prefix, torch.Tensor]]:
        """(index of the prompt, its keys and values, logits of its last token), with what prompts share computed once."""
        jobs: list[tuple[Row, Prefix | None]] = []
        level: list[tuple[Shared, Prefix | None]] = [
            (plan(tree(prompts, [len(prompt) - 1 for prompt in prompts]), row_tokens=0), None)
        ]
        while level:
            jobs += [self._known.behind(row, before) for shared, before in level for row in shared.rows]
            inner = [self._known.shorten(shared, before) for outer, before in level for shared in outer.behind]
            level = []
            for batch in by_budget([len(shared.ids) - shared.start for shared, _ in inner], self.prefill_tokens):
                made = prefill(self.forward, [inner[i] for i in batch])
                for i, prefix in zip(batch, made, strict=True):
                    self._known.add(inner[i][0].ids, prefix)
                    level.append((inner[i][0], prefix))

        def read(batch: list[tuple[Row, Prefix | None]]) -> list[tuple[int, Prefix, torch.Tensor]]:
            rows = [row for row, _ in batch]
            logits, cache = self.forward.rows(rows, [before for _, before in batch], [[len(row) - 1] for row in rows])
            return [(next(iter(row.owners)), cache.prefix(i, before, len(row)), logits[i]) for i, (row, before) in enumerate(batch)]

        found = []
        for batch in by_budget([len(row) + row.start // 4 for row, _ in jobs], self.prefill_tokens):
            found += halving(read, [jobs[i] for i in batch])
        return found

    def _advance(self, arriving: list[Answer]) -> list[Event]:
        """Appends a token to every row; ``arriving`` ones are only there where the model keeps no cache."""
        answers = [*self._running, *arriving]
        if self.forward.packs:
            lengths = [len(answer.ids) - 1 for answer in answers]
            logits = self.forward.step(self._slots, [answer.ids[-1] for answer in answers], lengths)
        else:
            batches = by_budget([len(answer.ids) for answer in answers], self.prefill_tokens)
            parts = {
                i: row
                for batch in batches
                for i, row in zip(
                    batch,
                    self.forward.whole([answers[i].ids for i in batch], [[len(answers[i].ids) - 1] for i in batch]),
                    strict=True,
                )
            }
            logits = torch.stack([parts[i] for i in range(len(answers))])
        self._running = answers
        return self._append(logits, 0)

    def _step_compressed(self) -> list[Event]:
        """Appends a token to every row with a compressed cache.

        One more request begins at each step, where there is room: the others don't wait for more than one prompt at a time.
        """
        if self._to_compress and self._has_room(self._to_compress[0]):
            self._compressed.append(self._to_compress.popleft())
        if not self._compressed:
            return []
        logits = torch.cat([self._compressed_logits(answers) for answers in self._compressed])
        events = self._choose(logits, [answer for answers in self._compressed for answer in answers])
        going, at = [], 0
        for answers in self._compressed:
            left = [i for i in range(len(answers)) if events[at + i].completion is None]
            at += len(answers)
            if 0 < len(left) < len(answers):
                _cache(answers).select(left)
            going += [[answers[i] for i in left]] if left else []
        self._compressed = going
        return events

    def _compressed_logits(self, answers: list[Answer]) -> torch.Tensor:
        """Logits of the next token of each, shape [answers, vocabulary]; their prompt is read once for all of them."""
        cache = _cache(answers)
        if cache.length == 0:
            logits = cache.forward(torch.tensor([answers[0].ids], device=self.forward.device))
            cache.select([0] * len(answers))
            return logits.expand(len(answers), -1)
        return cache.forward(torch.tensor([answer.ids[cache.length :] for answer in answers], device=self.forward.device))

    def _has_room(self, answers: list[Answer]) -> bool:
        """Whether another request may begin, its rows counted in full: that is what a prompt takes while it is read."""
        running = [answer for others in self._compressed for answer in others]
        rows = len(self._running) + len(running) + len(answers)
        tokens = sum(answer.room for answer in [*running, *answers])
        return not running or (rows <= self.most_rows and tokens <= self.batch_tokens)

    def _append(self, logits: torch.Tensor, first: int) -> list[Event]:
        """Chooses a token for the running rows from ``first`` on; finished ones leave."""
        events = self._choose(logits, self._running[first:])
        self._leave([row for row, event in enumerate(events, first) if event.completion is not None])
        return events

    def _choose(self, logits: torch.Tensor, answers: list[Answer]) -> list[Event]:
        """Chooses a token for each answer from its row of logits, shape [answers, vocabulary]."""
        if all(answer.plain for answer in answers):
            tokens = logits.argmax(-1).tolist()
            return [self._said(answer, token, None, []) for answer, token in zip(answers, tokens, strict=True)]
        sampling = [answer.sampling for answer in answers]
        said = logprobs_of(logits, [answer.logprobs for answer in answers])
        if any(s.repetition_penalty != 1 for s in sampling):
            logits = penalise(logits, [answer.ids for answer in answers], [s.repetition_penalty for s in sampling])
        if any(answer.state is not None for answer in answers):
            logits = logits.clone()
            for row, answer in enumerate(answers):
                if answer.state is not None:
                    logits[row] = answer.state.mask(logits[row])
        uniform = [0.0 if answer.sampling.greedy else answer.random.random() for answer in answers]
        events = []
        for row, (answer, token) in enumerate(zip(answers, choose(logits, sampling, uniform).tolist(), strict=True)):
            value, alternatives = said[row](token) if row in said else (None, [])
            events.append(self._said(answer, token, value, alternatives))
        return events

    def _said(self, answer: Answer, token: int, logprob: float | None, alternatives: list[tuple[int, float]]) -> Event:
        reused, answer.reused = answer.reused, 0
        completion = answer.add(token, self.end_ids)
        return Event(answer.request, answer.sample, token, completion, logprob, alternatives, reused)

    def _leave(self, rows: list[int]) -> None:
        """Takes rows out; the last running ones move into their places."""
        for row in sorted(rows, reverse=True):
            if self.remember and self.forward.packs:
                held = self._running[row].ids[:-1]  # the last token was never fed
                if len(held) >= PREFIX_TOKENS:
                    self._known.add(held, self._slots.take(row, len(held)))
            last = self._running.pop()
            if row < len(self._running):
                self._running[row] = last
                if self.forward.packs:
                    self._slots.move(len(self._running), row, len(last.ids))


def _cache(answers: list[Answer]) -> KVCache:
    """The cache that some answers share."""
    cache = answers[0].cache
    assert cache is not None
    return cache
