"""The HTTP process's end of a model's process: started, spoken to and ended here. Its death fails what it was asked, at once."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from components.inference.server.errors import ApiError
from components.inference.server.messages import Cancel, Failed, Job, Load, Look, Ready, Setup

logger = logging.getLogger(__name__)
_END_SECONDS = 5.0


class ModelProcess:
    """A process with one loaded model. Make it in a running event loop.

    Attributes:
        ready: done when the model is loaded; an ``ApiError`` if it couldn't be.
        ended: whether the process is gone.
        nbytes: memory that it holds, as it said last.
        context: tokens of the longest sequence its model was made for.
    """

    def __init__(self, name: str, setup: Setup, nbytes: int) -> None:
        self.name, self.nbytes, self.context, self.ended = name, nbytes, 0, False
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._queues: dict[int, asyncio.Queue[Any]] = {}
        mine, theirs = socket.socketpair()
        with theirs:
            environment = {key: value for key, value in os.environ.items() if not key.endswith("_TOKEN")}
            self.process = subprocess.Popen(
                [sys.executable, "-m", "components.inference.server.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self._pipe = Connection(mine.detach())
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._outbox.put(setup)
        for body in (self._read, self._write):
            threading.Thread(target=body, name=f"{name} {body.__name__}", daemon=True).start()

    def ask(self, asked: Job | Look) -> asyncio.Queue[Any]:
        """Sends a job or a view; what is said about it comes through the queue."""
        queue: asyncio.Queue[Any] = asyncio.Queue()
        if self.ended:
            queue.put_nowait(self._failure(asked.id))
            return queue
        self._queues[asked.id] = queue
        self._outbox.put(asked)
        return queue

    def forget(self, job: int) -> None:
        """Ends a job, finished or not."""
        if self._queues.pop(job, None) is not None and not self.ended:
            self._outbox.put(Cancel(job))

    def end(self) -> None:
        """Asks the process to end; its memory is free when ``wait`` returns."""
        self._outbox.put(None)

    async def wait(self) -> None:
        """Waits until it is gone; kills it if it doesn't go."""
        await asyncio.to_thread(self._reap)

    def _reap(self) -> None:
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _write(self) -> None:
        with suppress(OSError):
            while (asked := self._outbox.get()) is not None:
                self._pipe.send(asked)
        self.process.terminate()

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                said = self._pipe.recv()
                self._loop.call_soon_threadsafe(self._heard, said)
        self._reap()
        with suppress(RuntimeError):  # the loop is closed: the server ends
            self._loop.call_soon_threadsafe(self._died)
        self._outbox.put(None)
        self._pipe.close()

    def _heard(self, said: Any) -> None:
        if isinstance(said, Ready):
            if self.ready.done():
                return
            if said.error is None:
                self.context = said.context
                self.ready.set_result(None)
            else:
                self.ready.set_exception(ApiError(503, f"{self.name} can't be loaded: {said.error}", code="model_not_loadable"))
            return
        for each in said:
            if isinstance(each, Load):
                self.nbytes = each.nbytes
            elif (queue := self._queues.get(each.job)) is not None:
                queue.put_nowait(each)

    def _died(self) -> None:
        self.ended = True
        if not self.ready.done():
            self.ready.set_exception(ApiError(503, self._reason, code="model_ended"))
            self.ready.exception()  # nobody may be waiting
        queues, self._queues = self._queues, {}
        for job, queue in queues.items():
            queue.put_nowait(self._failure(job))

    def _failure(self, job: int) -> Failed:
        return Failed(job, 503, self._reason)

    @property
    def _reason(self) -> str:
        return f"the process of {self.name} ended (exit code {self.process.returncode}); the next request loads it again"
