"""Processes of loaded models within a memory budget: loaded when asked for, the least recently used idle one unloaded for room."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.inference.server.errors import ApiError
from components.inference.server.messages import Setup
from components.inference.server.process import ModelProcess

logger = logging.getLogger(__name__)
PROCESS_BYTES = 450 << 20
"""What a process holds besides its weights: the libraries."""
_ROOM_SECONDS = 60.0


@dataclass(eq=False)
class Entry:
    """One base model: its process if it is loaded, and who uses it.

    Attributes:
        users: requests that have it in hand; it isn't unloaded meanwhile.
        waiting: those of them that wait for their first token.
        used: when the last one came or left, by the monotonic clock.
        loads: how often it was loaded.
    """

    name: str
    setup: Setup
    process: ModelProcess | None = None
    users: int = 0
    waiting: int = 0
    used: float = 0.0
    loads: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def loaded(self) -> bool:
        """Whether it answers at once."""
        process = self.process
        return process is not None and not process.ended and process.ready.done() and process.ready.exception() is None

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self.process.nbytes if self.process is not None and not self.process.ended else 0


class Lease:
    """One request's use of a loaded model."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._waits = True
        entry.users += 1
        entry.waiting += 1
        entry.used = time.monotonic()

    @property
    def process(self) -> ModelProcess:
        """The model's process."""
        assert self.entry.process is not None
        return self.entry.process

    def answered(self) -> None:
        """The first token is there: the request leaves the queue."""
        self.entry.waiting -= self._waits
        self._waits = False

    def end(self) -> None:
        """The request is over."""
        self.answered()
        self.entry.users -= 1
        self.entry.used = time.monotonic()


class Pool:
    """All base models that were asked for.

    Args:
        budget: bytes that all processes may hold together; of the GPU where there is one.
        queue: requests to one model that may wait for their first token.
    """

    def __init__(self, budget: int, queue: int) -> None:
        self.budget, self.queue = budget, queue
        self.entries: dict[str, Entry] = {}
        self.seconds = 1.0  # that recent requests took, on average
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def use(self, key: str, name: str, setup: Setup) -> AsyncIterator[Lease]:
        """A loaded model; it stays loaded meanwhile.

        Args:
            key: what is loaded; requests of equal keys share a process.

        Raises:
            ApiError: 429 if too many wait for it, 503 if it can't be loaded.
        """
        entry = self.entries.setdefault(key, Entry(name, setup))
        if entry.waiting >= self.queue:
            pause = self.pause
            message = f"{entry.waiting} requests wait for {name}, which is the limit; try again in {pause} s"
            raise ApiError(429, message, code="queue_full", retry_after=pause)
        lease, began = Lease(entry), time.monotonic()
        try:
            async with entry.lock:
                if not entry.loaded:
                    await self._load(entry)
            began = time.monotonic()
            yield lease
        finally:
            lease.end()
            self.seconds += 0.1 * (time.monotonic() - began - self.seconds)
            async with self._room:
                self._room.notify_all()

    @property
    def pause(self) -> int:
        """Seconds after which a busy server is worth asking again."""
        return min(60, max(1, math.ceil(self.seconds)))

    @property
    def nbytes(self) -> int:
        """Bytes that all processes hold."""
        return sum(entry.nbytes for entry in self.entries.values())

    async def close(self) -> None:
        """Ends all processes."""
        processes = [entry.process for entry in self.entries.values() if entry.process is not None]
        for process in processes:
            process.end()
        await asyncio.gather(*(process.wait() for process in processes))

    async def _load(self, entry: Entry) -> None:
        try:
            needed = estimate(entry.setup)
        except (OSError, ValueError, struct.error) as error:
            message = f"{entry.name} can't be loaded: its weights can't be read ({error})"
            raise ApiError(503, message, code="model_not_loadable") from error
        if needed > self.budget:
            raise ApiError(
                503,
                f"{entry.name} takes about {needed / 2**30:.1f} GiB, more than the server's memory budget of "
                f"{self.budget / 2**30:.1f} GiB; start it with a larger --memory",
                code="model_too_large",
            )
        async with self._room:
            await self._make_room(entry.name, needed)
            process = entry.process = ModelProcess(entry.name, entry.setup, needed)
            entry.loads += 1
        # Shielded: the client that asked may leave, the next one wants the model all the same.
        await asyncio.shield(process.ready)

    async def _make_room(self, name: str, needed: int) -> None:
        limit = time.monotonic() + _ROOM_SECONDS
        while self.nbytes + needed > self.budget:
            idle = [entry for entry in self.entries.values() if entry.nbytes and not entry.users]
            if idle:
                await self._unload(min(idle, key=lambda entry: entry.used))
                continue
            try:
                await asyncio.wait_for(self._room.wait(), limit - time.monotonic())
            except TimeoutError as error:
                message = f"there is no room for {name}: all loaded models are answering; try again in {self.pause} s"
                raise ApiError(503, message, code="no_room", retry_after=self.pause) from error

    async def _unload(self, entry: Entry) -> None:
        process = entry.process
        assert process is not None
        entry.process = None
        logger.info("%s is unloaded", entry.name)
        process.end()
        await process.wait()


def estimate(setup: Setup) -> int:
    """Bytes that a model will hold: its weights as they are loaded (float32 on a CPU, 16 bits on a GPU), and the libraries."""
    wide = 4 if setup.device == "cpu" else 2
    files = [file for folder in [setup.folder, *setup.adapters.values()] for file in Path(folder).glob("*.safetensors")]
    return PROCESS_BYTES + sum(wide * _elements(file) for file in files)


def _elements(file: Path) -> int:
    """Numbers in a safetensors file, by its header; packed 4-bit ones count as two a byte."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    return sum(math.prod(tensor["shape"]) * (2 if tensor["dtype"] == "U8" else 1) for tensor in tensors)
