"""Generation with continuous batching: a finished row's place is taken by the next request.

``Decoder`` is driven step by step: ``submit`` requests at any time, ``step`` appends one token to every running row and gives
what happened, ``cancel`` frees a request's rows at once. A whole set of prompts (``Engine.generate``) and a server use it
alike. Prompts are read in batches; equal ones once, and what several begin with once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import torch

from components.inference.batching import by_budget, halving, out_of_memory
from components.inference.caches import Prefix, Slots
from components.inference.forward import Forward
from components.inference.prefixes import PREFIX_TOKENS, Row, Shared, plan, tree
from components.inference.sampling import Sampling, choose, penalise, stream
from components.inference.scoring import prefill
from components.inference.text import Stops


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


@dataclass(frozen=True)
class Event:
    """What a step did for one answer.

    Attributes:
        request: id that ``submit`` gave.
        sample: which of the request's ``n`` answers.
        token: the new token.
        completion: the whole answer, once it is finished.
    """

    request: int
    sample: int
    token: int
    completion: Completion | None


@dataclass(eq=False)
class _Answer:
    """An answer that waits or runs. ``ids`` are prompt and answer; one that has to wait again is read from there."""

    request: int
    sample: int
    ids: list[int]
    prompt: int
    limit: int
    sampling: Sampling
    stops: Stops
    random: np.random.Generator

    @property
    def room(self) -> int:
        return self.prompt + self.limit


class Decoder:
    """Generates with one model.

    Args:
        end_ids: tokens that end an answer.
        context: tokens that a prompt and its answer hold at most.
        batch_tokens: tokens that all running rows may come to hold, padding included.
        prefill_tokens: tokens of prompts that are read in one forward pass.
        most_rows: rows that run at once.
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
    ) -> None:
        self.forward = forward
        self.tokenizer = tokenizer
        self.end_ids = end_ids
        self.context = context
        self.batch_tokens = batch_tokens
        self.prefill_tokens = prefill_tokens
        self.most_rows = most_rows
        self._requests = count()
        self._waiting: deque[_Answer] = deque()
        self._running: list[_Answer] = []
        self._slots = Slots(forward.layers)
        self._known = Known(batch_tokens // 4)
        self._stops: dict[tuple[str, ...], Stops] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._waiting and not self._running

    def submit(self, prompt: Sequence[int], sampling: Sampling, index: int | None = None) -> int:
        """Queues a prompt and gives its id.

        Args:
            prompt: at least one and at most ``context`` - 1 token ids.
            index: with the seed it decides the draws; the id if not given.
        """
        request = next(self._requests)
        stops = self._stops.setdefault(sampling.stop, Stops(self.tokenizer, sampling.stop))
        limit = min(sampling.max_new_tokens, self.context - len(prompt))
        for sample in range(sampling.n):
            random = stream(sampling.seed, request if index is None else index, sample)
            self._waiting.append(_Answer(request, sample, list(prompt), len(prompt), limit, sampling, stops, random))
        return request

    def cancel(self, request: int) -> None:
        """Drops a request's unfinished answers; their places are free for the next step."""
        self._waiting = deque(answer for answer in self._waiting if answer.request != request)
        self._leave([row for row, answer in enumerate(self._running) if answer.request == request])

    def step(self) -> list[Event]:
        """Reads the prompts that there is room for; if there is none, appends a token to every running row.

        Raises:
            torch.cuda.OutOfMemoryError, MemoryError, RuntimeError: if memory is too small for a single row.
        """
        while not self.idle:
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
            self._slots = Slots(self.forward.layers)
            self._known = Known(0)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return []

    def _arriving(self) -> list[_Answer]:
        """Takes from the queue what there is room for; while others run, only enough at once to be worth stopping them."""
        longest = max((answer.room for answer in self._running), default=0)
        taken: list[_Answer] = []
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

    def _read(self, arriving: list[_Answer]) -> list[Event]:
        """Reads prompts, equal ones once, and chooses their first tokens."""
        same: dict[tuple[int, ...], list[_Answer]] = {}
        for answer in arriving:
            same.setdefault(tuple(answer.ids), []).append(answer)
        groups = list(same.values())
        order: list[_Answer] = []
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

    def _advance(self, arriving: list[_Answer]) -> list[Event]:
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

    def _append(self, logits: torch.Tensor, first: int) -> list[Event]:
        """Chooses a token for the running rows from ``first`` on; finished ones leave."""
        answers = self._running[first:]
        sampling = [answer.sampling for answer in answers]
        if any(s.repetition_penalty != 1 for s in sampling):
            logits = penalise(logits, [answer.ids for answer in answers], [s.repetition_penalty for s in sampling])
        uniform = [0.0 if answer.sampling.greedy else answer.random.random() for answer in answers]
        events, gone = [], []
        for row, (answer, token) in enumerate(zip(answers, choose(logits, sampling, uniform).tolist(), strict=True), first):
            answer.ids.append(token)
            if (completion := self._finished(answer, token)) is not None:
                gone.append(row)
            events.append(Event(answer.request, answer.sample, token, completion))
        self._leave(gone)
        return events

    def _finished(self, answer: _Answer, token: int) -> Completion | None:
        if token in self.end_ids or (answer.stops.strings and answer.stops.appeared(answer.ids[answer.prompt :])):
            finish: Literal["stop", "length"] = "stop"
        elif len(answer.ids) >= answer.room:
            finish = "length"
        else:
            return None
        ids = answer.ids[answer.prompt :]
        return Completion(ids, answer.stops.text(ids), finish)

    def _leave(self, rows: list[int]) -> None:
        """Takes rows out; the last running ones move into their places."""
        for row in sorted(rows, reverse=True):
            last = self._running.pop()
            if row < len(self._running):
                self._running[row] = last
                if self.forward.packs:
                    self._slots.move(len(self._running), row, len(last.ids))


class Known:
    """Prefixes of earlier prompts, most recently used last.

    Args:
        tokens: how many they hold together at most; the newest stays whatever its length.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def add(self, ids: Sequence[int], prefix: Prefix) -> None:
        """Keeps a prefix, and lets go of the longest unused ones where there is no room."""
        self._prefixes[tuple(ids)] = prefix
        self._prefixes.move_to_end(tuple(ids))
        while len(self._prefixes) > 1 and sum(map(len, self._prefixes)) > self.tokens:
            self._prefixes.popitem(last=False)

    def shorten(self, shared: Shared, before: Prefix | None) -> tuple[Shared, Prefix | None]:
        """What is left to compute of a prefix, and behind what."""
        found = self._longest(shared.ids, len(shared.ids) - 1)
        if found is None or found.length <= shared.start:
            return shared, before
        return Shared(found.length, shared.ids, shared.rows, shared.behind), found

    def behind(self, row: Row, before: Prefix | None) -> tuple[Row, Prefix | None]:
        """The same for a prompt's row; only for those that share nothing with the other prompts."""
        found = self._longest(row.runs[0], len(row) - 1) if before is None else None
        if found is None:
            return row, before
        return Row(found.length, [row.runs[0][found.length :]], [-1], [found.length], row.owners), found

    def _longest(self, ids: Sequence[int], most: int) -> Prefix | None:
        best, length = None, PREFIX_TOKENS - 1
        for known in self._prefixes:
            common = 0
            for a, b in zip(known, ids[:most], strict=False):
                if a != b:
                    break
                common += 1
            if common > length:
                best, length = known, common
        if best is None:
            return None
        self._prefixes.move_to_end(best)
        return self._prefixes[best].head(length)
