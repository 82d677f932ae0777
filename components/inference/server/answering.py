"""One request being answered by a model's process: begun, read piece by piece, ended whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from components.inference.reading import rate
from components.inference.server.catalogue import Target
from components.inference.server.errors import ApiError
from components.inference.server.messages import Begun, Done, Failed, Job, Look, Piece, Seen
from components.inference.server.metrics import Metrics
from components.inference.server.pool import Lease, Pool
from components.inference.server.protocol import MOST_PROMPTS

_blocks = itertools.count(1, MOST_PROMPTS)


def new_ids() -> int:
    """The first of so many new ids as a request may have prompts."""
    return next(_blocks)


@dataclass
class Account:
    """What a request has used so far; times in seconds from its arrival."""

    prompt: int = 0
    answer: int = 0
    reused: int = 0
    queued: float = 0.0
    first: float | None = None
    use: dict[str, Any] = field(default_factory=dict)
    kv: dict[str, Any] | None = None
    prompt_ids: list[list[int]] = field(default_factory=list)


class Answering:
    """A request's jobs. ``begin`` it, read ``pieces`` to the end, ``close`` it in any case."""

    def __init__(self, pool: Pool, metrics: Metrics, target: Target, jobs: Sequence[Job]) -> None:
        self.target, self.account = target, Account()
        self._pool, self._metrics = pool, metrics
        self._jobs = [replace(job, adapter=target.adapter) for job in jobs]
        self._arrived = time.monotonic()
        self._stack = AsyncExitStack()
        self._lease: Lease | None = None
        self._queues: dict[int, asyncio.Queue[Any]] = {}
        self._whole = self._closed = False

    @property
    def seconds(self) -> dict[str, float | None]:
        """``queued``, ``first_token``, ``total`` up to now."""
        return {"queued": self.account.queued, "first_token": self.account.first, "total": self._since(time.monotonic())}

    def _since(self, at: float) -> float:
        """Seconds from the request's arrival."""
        return round(max(0.0, at - self._arrived), 6)

    async def begin(self) -> None:
        """Loads the model, hands in the jobs, waits until their prompts are accepted.

        Raises:
            ApiError: if one isn't, the queue is full or the model can't be loaded.
        """
        self._lease = await self._stack.enter_async_context(self._pool.use(self.target.key, self.target.name, self.target.setup))
        self._queues = {job.id: self._lease.process.ask(job) for job in self._jobs}
        begun = []
        for job in self._jobs:
            said = await self._queues[job.id].get()
            _raise(said)
            assert isinstance(said, Begun)
            self.account.prompt += len(said.prompt_ids)
            self.account.prompt_ids.append(said.prompt_ids)
            self.account.use = said.use
            begun.append(said.at)
        self.account.queued = self._since(min(begun))

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """(number of the choice, piece); what has come in together of one choice comes as one piece.

        Raises:
            ApiError: if the model's process fails.
        """
        if len(self._jobs) == 1:
            async for piece in self._of(self._jobs[0]):
                yield piece.sample, piece
        else:
            async for pair in self._of_all():
                yield pair
        self._whole = True

    async def _of(self, job: Job) -> AsyncIterator[Piece]:
        queue = self._queues[job.id]
        while True:
            waiting = [await queue.get()]
            while not queue.empty():
                waiting.append(queue.get_nowait())
            for piece in self._heard(waiting):
                yield piece
            _raise(waiting[-1])
            if isinstance(waiting[-1], Done):
                return

    async def _of_all(self) -> AsyncIterator[tuple[int, Piece]]:
        """All prompts at once, in the order in which their pieces come."""
        merged: asyncio.Queue[Any] = asyncio.Queue()

        async def forward(at: int, job: Job) -> None:
            try:
                async for piece in self._of(job):
                    merged.put_nowait((at * job.sampling.get("n", 1) + piece.sample, piece))
                merged.put_nowait(None)
            except ApiError as error:
                merged.put_nowait(error)

        tasks = [asyncio.ensure_future(forward(at, job)) for at, job in enumerate(self._jobs)]
        try:
            left = len(tasks)
            while left:
                found = await merged.get()
                if isinstance(found, ApiError):
                    raise found
                if found is None:
                    left -= 1
                else:
                    yield found
        finally:
            for task in tasks:
                task.cancel()

    def _heard(self, waiting: list[Any]) -> list[Piece]:
        together: dict[int, Piece] = {}
        for said in waiting:
            if isinstance(said, Piece):
                self._count(said)
                before = together.get(said.sample)
                together[said.sample] = said if before is None else _joined(before, said)
            elif isinstance(said, Done):
                self.account.reused += said.reused
                self.account.kv = said.kv or self.account.kv
        return list(together.values())

    def _count(self, piece: Piece) -> None:
        if self.account.first is None:
            self.account.first = self._since(piece.at)
            self._metrics.first_token.labels(self.target.name).observe(self.account.first)
            if self._lease is not None:
                self._lease.answered()
        self.account.answer += len(piece.ids)

    async def close(self) -> None:
        """Frees what the request holds; the decoder drops what isn't finished."""
        if self._closed:
            return
        self._closed = True
        name, account = self.target.name, self.account
        if self._lease is not None:
            for job in self._jobs:
                self._lease.process.forget(job.id)
            self._metrics.prompt_tokens.labels(name).inc(account.prompt)
            self._metrics.tokens.labels(name).inc(account.answer)
            self._metrics.reused.labels(name).inc(account.reused)
            if self._whole and (speed := rate(account.answer, account.first, self._since(time.monotonic()))) is not None:
                self._metrics.rate.labels(name).observe(speed)
        await self._stack.aclose()


async def look(pool: Pool, target: Target, asked: Look) -> dict[str, Any]:
    """A view's document from the model's process.

    Raises:
        ApiError: if there is none.
    """
    async with pool.use(target.key, target.name, target.setup) as lease:
        process = lease.process
        queue = process.ask(asked)
        try:
            said = await queue.get()
        finally:
            process.forget(asked.id)
    _raise(said)
    assert isinstance(said, Seen)
    return said.document


def _joined(first: Piece, second: Piece) -> Piece:
    tokens = (first.tokens or []) + (second.tokens or []) or None
    return Piece(
        first.job,
        first.sample,
        first.text + second.text,
        first.ids + second.ids,
        tokens,
        second.finish,
        first.calls + second.calls,
        first.at,
    )


def _raise(said: Any) -> None:
    if isinstance(said, Failed):
        codes = {400: "invalid_request", 503: "model_ended"}
        raise ApiError(said.status, said.message, code=codes.get(said.status, "engine_error"), param=said.param)
