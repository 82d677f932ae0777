"""Requests of one call in several processes, with one thread each.

On a CPU the operations of a small model are too short to be divided between threads; requests can be. The processes are forked
from the one that holds the model, so they share its weights' memory, and stay for the calls that follow. They end with it.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from components.inference.prefixes import common

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 20.0
_REPORT_SECONDS = 0.2

Ids = Sequence[int]
Done = Callable[[int], None]
Work = Callable[[Any, list[Any], Done], list[Any]]


def possible() -> bool:
    """Whether this process may fork helpers: in its main thread, whose end they are told of, and where it trains with no others."""
    return (
        sys.platform == "linux"
        and threading.current_thread() is threading.main_thread()
        and not (torch.distributed.is_available() and torch.distributed.is_initialized())
    )


def split(contexts: Sequence[Ids], costs: Sequence[int], least: int, most: int) -> list[list[int]]:
    """Divides requests into shares of about the same cost; what begins alike stays together.

    Args:
        contexts: tokens that a request begins with; shared ones are computed once.
        costs: of each request without its context.
        least: a share that costs less isn't worth a process.
        most: how many shares there may be.

    Returns:
        Indices of the requests of each share; one share if there is too little to do.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, context in enumerate(contexts):
        groups.setdefault(tuple(context), []).append(i)
    order = sorted(groups)
    arrays = [np.asarray(context, dtype=np.int64) for context in order]
    shared = [common(a, b) for a, b in pairwise(arrays)]
    each = [
        len(context) - known + sum(costs[i] for i in groups[context]) for context, known in zip(order, [0, *shared], strict=False)
    ]
    behind = np.cumsum(each)
    shares = int(min(most, len(order), behind[-1] // least)) if each else 1
    cuts = [0]
    for share in range(1, shares):
        nearest = int(np.searchsorted(behind, behind[-1] * share / shares)) + 1
        around = range(max(cuts[-1] + 1, nearest - len(order) // 50), min(len(order) - 1, nearest + len(order) // 50) + 1)
        cuts.append(min(around, key=lambda at: (shared[at - 1], abs(at - nearest)), default=nearest))
    return [[i for context in order[a:b] for i in groups[context]] for a, b in zip(cuts, [*cuts[1:], len(order)], strict=True)]


class Workers:
    """Forked processes that do as this one would.

    Args:
        work: does a job on a list of requests, in any of the processes.
        count: processes besides this one.

    Raises:
        OSError: if a process can't be forked or doesn't answer.
    """

    def __init__(self, work: Work, count: int) -> None:
        self._children: list[tuple[int, Connection]] = []
        self._finalizer = weakref.finalize(self, _end, os.getpid(), self._children)
        try:
            for _ in range(count):
                self._children.append(_fork(work, [pipe for _, pipe in self._children]))
            for _, pipe in self._children:
                if not pipe.poll(_START_SECONDS) or pipe.recv() is not None:
                    raise OSError("a forked process doesn't answer")
        except BaseException as error:
            self.close()
            if isinstance(error, EOFError):
                raise OSError("a forked process ended") from error
            raise

    def __len__(self) -> int:
        return len(self._children)

    def close(self) -> None:
        """Ends the processes; what they do is lost."""
        self._finalizer()

    def run(self, work: Work, job: Any, shares: Sequence[list[Any]], done: Done) -> list[list[Any]]:
        """Results of each share, the first one's computed here. An exception of any share ends all of them.

        Args:
            work: as it was given to the processes.
            done: called here with how many more requests are done, wherever they are.
        """
        busy = dict(zip(range(1, len(shares)), [pipe for _, pipe in self._children], strict=False))
        found: dict[int, list[Any]] = {}
        try:
            for share, pipe in busy.items():
                with suppress(OSError):  # a dead one shows when it is listened to
                    pipe.send((job, shares[share]))

            def count(more: int) -> None:
                done(more)
                for share, pipe in busy.items():
                    while share not in found and pipe.poll():
                        self._hear(share, pipe, found, done)

            with single_threaded():
                found[0] = work(job, shares[0], count)
                for share, pipe in busy.items():
                    while share not in found:
                        self._hear(share, pipe, found, done)
            lost = [share for share in busy if found[share] is _LOST]
            for share in lost:
                _log.warning("a process that computed %d requests has died; they are computed again", len(shares[share]))
                found[share] = work(job, shares[share], lambda more: None)
        except BaseException:
            self.close()
            raise
        if lost:
            self.close()
        return [found[share] for share in range(len(shares))]

    def _hear(self, share: int, pipe: Connection, found: dict[int, list[Any]], done: Done) -> None:
        try:
            said = pipe.recv()
        except (EOFError, OSError):
            said = _LOST
        if isinstance(said, int):
            done(said)
        elif isinstance(said, BaseException):
            raise said
        else:
            found[share] = said


_LOST: list[Any] = []  # told from an empty result by identity


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for torch's operations."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fork(work: Work, others: list[Connection]) -> tuple[int, Connection]:
    """A process that waits for jobs, and the pipe to it."""
    here, there = Pipe()
    parent = os.getpid()
    # The tokenizers' threads are gone in a forked process; told beforehand, they do without and don't warn.
    parallel = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        pid = os.fork()
        if pid == 0:
            try:
                for pipe in (here, *others):
                    pipe.close()
                _serve(work, there, parent)
            finally:
                os._exit(0)  # no exit handlers: they are the parent's
    finally:
        if parallel is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = parallel
    there.close()
    return pid, here


def _serve(work: Work, pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    gc.freeze()  # going through the parent's objects would copy their memory
    torch.set_num_threads(1)
    torch.ones(64, 64) @ torch.ones(64, 64)
    pipe.send(None)
    with suppress(EOFError):
        while True:
            job, requests = pipe.recv()
            counter = _Counter(pipe)
            try:
                found = work(job, requests, counter)
                counter.tell()
                pipe.send(found)
            except Exception as error:
                _say(pipe, error)


class _Counter:
    """Tells the parent how many requests are done, a few times a second."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.untold = 0
        self.told = time.monotonic()

    def __call__(self, more: int) -> None:
        self.untold += more
        if time.monotonic() - self.told > _REPORT_SECONDS:
            self.tell()

    def tell(self) -> None:
        self.pipe.send(self.untold)
        self.untold, self.told = 0, time.monotonic()


def _say(pipe: Connection, error: Exception) -> None:
    try:
        pipe.send(error)
    except Exception:  # it can't be pickled
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _end(owner: int, children: list[tuple[int, Connection]]) -> None:
    if os.getpid() != owner:
        return  # a copy of the owner, forked by somebody else
    for pid, pipe in children:
        pipe.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    children.clear()
