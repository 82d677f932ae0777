"""Runs a stage function in a child process, forked from a warm parent so that heavy imports are paid once.

The child writes below ``work/<section>/<key>/`` and talks to nobody but its parent: a pipe for the outcome,
``events.jsonl`` for what happens on the way. It dies with its parent, and its end never ends the flow.
A stage whose settings ask for several processes runs in as many children, which train together; the first one reports,
and what it writes is the output. The first that fails ends them all.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from components import events, methods
from components.artifacts import Inputs
from components.errors import InputError, LapidarError, StageFailed, StageKilled, disk_is_full
from components.main_module import main_hidden

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_TAIL_LINES = 5
_FULL_BYTES = 1 << 18
_MEETING = "meeting"
_LISTEN_SECONDS = 0.1
_GRACE_SECONDS = 3.0
_LOST = 2
_ERRORS = {kind.__name__: kind for kind in (InputError, LapidarError, StageFailed)}


@dataclass(frozen=True)
class Job:
    """One stage to run.

    Attributes:
        work: the stage's own folder below ``work/``; ``out`` (to be sealed), ``log.txt`` and ``events.jsonl`` stand in it.
        threads: torch threads of all processes together, or None for all cores.
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

    @property
    def processes(self) -> int:
        """How many children train together."""
        return int(self.config.get("processes", 1))


@dataclass
class _Child:
    """A process of a stage, and what it said last: its outcome or its error."""

    process: Any
    receiver: Connection
    message: dict[str, Any] | None = None

    def over(self) -> bool:
        """Whether it said its last word, or died without one."""
        alive = self.process.is_alive()  # asked first: what it says before it dies counts
        if self.message is None and self.receiver.poll():
            with suppress(EOFError):
                self.message = self.receiver.recv()
        return self.message is not None or not alive

    def failed(self) -> bool:
        """Whether it said an error, or died without a word."""
        return self.over() and (self.message is None or "error" in self.message)


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: wall seconds of its function and the peak resident memory of its processes together."""

    seconds: float
    peak_rss_mb: float


def warm_up() -> None:
    """Starts the warm parent now, so that its imports overlap with other work. Costs nothing if it runs already."""
    _begin(_context().Process(target=_nothing))


def cool_down() -> None:
    """Ends the warm parent at once. Left to itself it tears its libraries down for two seconds, and whoever reads this
    process's output waits for it too. Call when no child runs any more.
    """
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        os.kill(server._forkserver_pid, _SIGKILL)
        server._stop()


def run(job: Job, on_events: Callable[[list[dict[str, Any]]], None] | None = None) -> Outcome:
    """Runs a job in a child process and waits; new events reach ``on_events`` a few times a second.

    Raises:
        InputError, LapidarError: raised by the stage itself, with its own message.
        StageFailed: if the child died or failed otherwise; names the cause and the log.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    (job.work / _MEETING).unlink(missing_ok=True)
    children = [_start(job, number) for number in range(job.processes)]
    offset = 0
    try:
        while busy := [child.receiver for child in children if not child.over()]:
            if any(child.failed() for child in children):
                break
            wait(busy, timeout=_LISTEN_SECONDS)
            offset = _forward(job.work / "events.jsonl", offset, on_events)
        failed = _failed(children)
    except BaseException:
        _stop(children)
        raise
    _stop(child for child in children if not child.over())
    for child in children:
        child.process.join()
    _forward(job.work / "events.jsonl", offset, on_events)
    if failed:
        raise _cause(job, failed)
    said = [child.message or {} for child in children]
    return Outcome(said[0]["seconds"], sum(message["peak_rss_mb"] for message in said))


def _start(job: Job, number: int) -> _Child:
    receiver, sender = _context().Pipe(duplex=False)
    process = _context().Process(target=_child, args=(job, number, sender), name=f"lapidar-{job.section}-{job.method}")
    _begin(process)
    sender.close()
    return _Child(process, receiver)


def _failed(children: list[_Child]) -> list[_Child]:
    """Children that failed. One that may only have lost another gives that one a moment to be seen as dead."""
    limit = time.monotonic() + _GRACE_SECONDS
    while True:
        failed = [child for child in children if child.failed()]
        known = any(_remoteness(child)[0] < _LOST for child in failed)
        if not failed or known or all(child.over() for child in children) or time.monotonic() > limit:
            return failed
        time.sleep(0.05)


def _stop(children: Iterable[_Child]) -> None:
    for child in children:
        child.process.kill()
        child.process.join()


def discard(job: Job) -> None:
    """Removes a stage's work folder once its output is sealed."""
    shutil.rmtree(job.work, ignore_errors=True)


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["components._warm"])
    return context


def _begin(process: Any) -> None:
    """Starts a process that never hears of Ctrl-C, which a terminal sends to all: this one does, and ends it."""
    resource_tracker.ensure_running()  # its own start lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with main_hidden():
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing() -> None:
    pass


def _forward(path: Path, offset: int, on_events: Callable[[list[dict[str, Any]]], None] | None) -> int:
    if on_events is None:
        return offset
    new, offset = events.read(path, offset)
    if new:
        on_events(new)
    return offset


def _cause(job: Job, failed: list[_Child]) -> LapidarError:
    """What a stage failed of: a child that was killed comes before one with an error of ours, and that before any other error,
    of which the first counts: those after it may only say that a child lost the rest.
    """
    log = job.work / "log.txt"
    first = min(failed, key=_remoteness)
    message, exitcode = first.message, first.process.exitcode
    if message is None:
        cause = f"was killed by signal {-exitcode}" if exitcode < 0 else f"ended with exit code {exitcode}"
        hint = " (out of memory?)" if exitcode == -_SIGKILL else ""
        failure = StageKilled if exitcode < 0 else StageFailed
        text = f"stage {job.section}/{job.method} {cause}{hint}; run again to go on from its last checkpoint; log: {log}"
        return failure("\n  ".join([text, *_tail(log)]))
    kind = _ERRORS.get(message["error"], StageFailed)
    return kind(
        message["message"] if kind is not StageFailed else f"stage {job.section}/{job.method}: {message['message']}; log: {log}"
    )


def _remoteness(child: _Child) -> tuple[int, float]:
    """How far a child's failure is from the first cause: by its kind, then by the time at which it was said."""
    if child.message is None:
        return 0, 0.0
    return 1 if child.message["error"] in _ERRORS else _LOST, child.message["time"]


def _tail(log: Path) -> list[str]:
    """The last lines of a log: what a child said before it died."""
    if not log.exists():
        return []
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]


def _child(job: Job, number: int, sender: Connection) -> None:
    """Body of the child process: environment, the stage function, the outcome."""
    _die_with_parent()
    lock = (job.work / f"lock{number or ''}").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # a dying child of an earlier run lets go before this one starts
    log = (job.work / "log.txt").open("a", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    started = time.perf_counter()
    try:
        _run_stage(job, number)
    except BaseException as error:
        sender.send(_failure(error, job) | {"time": time.time()})  # before the log, whose disk may be full
        traceback.print_exc()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sender.send({"seconds": time.perf_counter() - started, "peak_rss_mb": peak})
    sender.close()
    sys.stdout.flush()
    os._exit(0)  # no exit handlers: threads of the libraries must not keep a finished child alive


def _run_stage(job: Job, number: int) -> None:
    from components import _warm
    from components.stage import Released, Stage

    _warm.settle()
    _warm.prepare_child(max(1, (job.threads or os.cpu_count() or 1) // job.processes), job.seed)
    if job.processes > 1:
        _warm.join(job.work / _MEETING, number, job.processes, job.device)
    own = job.work / f"process{number}" if number else job.work  # what the others say and write is no more than their copy
    shutil.rmtree(own / "out", ignore_errors=True)
    (own / "out").mkdir(parents=True)
    module = methods.load(job.section, job.method)
    writer = events.EventWriter(own / "events.jsonl")
    stage = Stage(own / "out", job.work / "checkpoints", job.seed, job.device, writer)
    stage.work.mkdir(exist_ok=True)
    with suppress(Released):
        module.run(module.Config.model_validate(job.config), job.inputs, stage)
    writer.close()
    (stage.out / "log").mkdir(exist_ok=True)
    shutil.copyfile(own / "events.jsonl", stage.out / "log" / "events.jsonl")


def _failure(error: BaseException, job: Job) -> dict[str, Any]:
    """What the parent is told of an exception. A full disk shows in many forms, some of which only its free space tells."""
    if isinstance(error, LapidarError):
        kind = InputError if isinstance(error, InputError) else type(error)  # also what derives from it: an endpoint's failure
        return {"error": kind.__name__, "message": str(error)}
    free = shutil.disk_usage(job.work).free
    if disk_is_full(error) or free < _FULL_BYTES:
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
