"""Runs a stage function in a child process, forked from a warm parent so that heavy imports are paid once.

The child writes below ``work/<section>/<key>/`` and talks to nobody but its parent: a pipe for the outcome,
``events.jsonl`` for what happens on the way. It dies with its parent, and its end never ends the flow.
"""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

from components import events, methods
from components.artifacts import Inputs
from components.errors import InputError, LapidarError, StageFailed, StageKilled

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_TAIL_LINES = 5
_FULL_BYTES = 1 << 18
_ERRORS = {kind.__name__: kind for kind in (InputError, LapidarError, StageFailed)}


@dataclass(frozen=True)
class Job:
    """One stage to run.

    Attributes:
        work: the stage's own folder below ``work/``; ``out`` (to be sealed), ``log.txt`` and ``events.jsonl`` stand in it.
        threads: torch threads, or None for all cores.
    """

    section: str
    method: str
    config: dict[str, Any]
    inputs: Inputs
    seed: int
    device: str
    work: Path
    threads: int | None = None

    @property
    def out(self) -> Path:
        """The folder that will be sealed."""
        return self.work / "out"


@dataclass(frozen=True)
class Outcome:
    """How a child ended: wall seconds of the stage function and the child's peak resident memory."""

    seconds: float
    peak_rss_mb: float


def warm_up() -> None:
    """Starts the warm parent now, so that its imports overlap with other work. Costs nothing if it runs already."""
    context = _context()
    process = context.Process(target=_nothing)
    with _main_hidden():
        process.start()


def run(job: Job, on_events: Callable[[list[dict[str, Any]]], None] | None = None) -> Outcome:
    """Runs a job in a child process and waits; new events reach ``on_events`` a few times a second.

    Raises:
        InputError, LapidarError: raised by the stage itself, with its own message.
        StageFailed: if the child died or failed otherwise; names the cause and the log.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    receiver, sender = _context().Pipe(duplex=False)
    process = _context().Process(target=_child, args=(job, sender), name=f"lapidar-{job.section}-{job.method}")
    with _main_hidden():
        process.start()
    sender.close()
    offset, message = 0, None
    try:
        while process.is_alive() and message is None:
            if receiver.poll(0.1):
                message = _receive(receiver)
            offset = _forward(job.work / "events.jsonl", offset, on_events)
        process.join()
    except BaseException:
        process.kill()
        process.join()
        raise
    if message is None and receiver.poll():
        message = _receive(receiver)
    _forward(job.work / "events.jsonl", offset, on_events)
    return _outcome(job, message, process.exitcode)


def discard(job: Job) -> None:
    """Removes a stage's work folder once its output is sealed."""
    shutil.rmtree(job.work, ignore_errors=True)


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["components._warm"])
    return context


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keeps multiprocessing from importing the parent's main module in every child: seconds for nothing."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _nothing() -> None:
    pass


def _receive(receiver: Connection) -> dict[str, Any] | None:
    try:
        message: dict[str, Any] = receiver.recv()
        return message
    except EOFError:
        return None


def _forward(path: Path, offset: int, on_events: Callable[[list[dict[str, Any]]], None] | None) -> int:
    if on_events is None:
        return offset
    new, offset = events.read(path, offset)
    if new:
        on_events(new)
    return offset


def _outcome(job: Job, message: dict[str, Any] | None, exitcode: int | None) -> Outcome:
    log = job.work / "log.txt"
    if message is None:
        cause = f"was killed by signal {-exitcode}" if exitcode and exitcode < 0 else f"ended with exit code {exitcode}"
        hint = " (out of memory?)" if exitcode == -_SIGKILL else ""
        failure = StageKilled if exitcode and exitcode < 0 else StageFailed
        text = f"stage {job.section}/{job.method} {cause}{hint}; run again to go on from its last checkpoint; log: {log}"
        raise failure("\n  ".join([text, *_tail(log)]))
    if "error" in message:
        kind = _ERRORS.get(message["error"], StageFailed)
        text = (
            message["message"] if kind is not StageFailed else f"stage {job.section}/{job.method}: {message['message']}; log: {log}"
        )
        raise kind(text)
    return Outcome(message["seconds"], message["peak_rss_mb"])


def _tail(log: Path) -> list[str]:
    """The last lines of a log: what a child said before it died."""
    if not log.exists():
        return []
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]


def _child(job: Job, sender: Connection) -> None:
    """Body of the child process: environment, the stage function, the outcome."""
    _die_with_parent()
    lock = (job.work / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # a dying child of an earlier run lets go before this one starts
    log = (job.work / "log.txt").open("a", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    started = time.perf_counter()
    try:
        _run_stage(job)
    except BaseException as error:
        sender.send(_failure(error, job))  # before the log, whose disk may be full
        traceback.print_exc()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sender.send({"seconds": time.perf_counter() - started, "peak_rss_mb": peak})
    sender.close()
    sys.stdout.flush()
    os._exit(0)  # no exit handlers: threads of the libraries must not keep a finished child alive


def _run_stage(job: Job) -> None:
    from components import _warm
    from components.stage import Stage

    _warm.prepare_child(job.threads, job.seed)
    shutil.rmtree(job.out, ignore_errors=True)
    job.out.mkdir(parents=True)
    module = methods.load(job.section, job.method)
    writer = events.EventWriter(job.work / "events.jsonl")
    stage = Stage(job.out, job.work / "checkpoints", job.seed, job.device, writer)
    stage.work.mkdir(exist_ok=True)
    module.run(module.Config.model_validate(job.config), job.inputs, stage)
    writer.close()
    (job.out / "log").mkdir(exist_ok=True)
    shutil.copyfile(job.work / "events.jsonl", job.out / "log" / "events.jsonl")


def _failure(error: BaseException, job: Job) -> dict[str, str]:
    """What the parent is told of an exception. A full disk shows in many forms: safetensors and torch have errors of their own."""
    if isinstance(error, LapidarError):
        return {"error": type(error).__name__, "message": str(error)}
    free = shutil.disk_usage(job.work).free
    said = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if said or "No space left" in str(error) or free < _FULL_BYTES:
        message = f"the disk of {job.work} is full ({free >> 20} MiB free); make room and run again, finished stages are kept"
        return {"error": InputError.__name__, "message": message}
    return {"error": type(error).__name__, "message": f"{type(error).__name__}: {error}"}


def _die_with_parent() -> None:
    """Asks Linux to kill this process when the warm parent ends, which ends when the flow does.

    The warm parent ends when nobody holds the other end of its pipe any more; multiprocessing hands one to every child, for
    children of its own, and with it a child would keep its warm parent, and itself, alive behind a killed flow.
    """
    from multiprocessing import forkserver

    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
