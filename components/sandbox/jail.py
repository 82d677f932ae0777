"""The process that confines an untrusted program and judges it, run by ``components.sandbox.run`` with a bare environment.

It becomes three processes. The first enters new namespaces and waits. The second is the first process of a process namespace:
when it ends, for whatever reason, the kernel kills everything that the program has started. It starts the third, which runs
``worker`` with the program, over a socket; then it runs the tests itself. The verdict is written to a descriptor that the third
never had, in memory that the third can't read, so a program can only pass by returning what the tests expect.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from components.sandbox import confine, worker

_CHANNEL = 3
_JUDGE_MEMORY = 2 << 30
_LARGEST_ANSWER = 32 << 20
_EXCEEDED = {signal.SIGXCPU: "timeout", signal.SIGXFSZ: "output"}


class Stop(BaseException):
    """Ends the tests with an outcome, past their own exception handlers."""

    def __init__(self, outcome: str, detail: str) -> None:
        super().__init__(outcome, detail)
        self.outcome = outcome
        self.detail = detail


class RemoteError(Exception):
    """An exception of the program whose class isn't one of Python's own."""


class Program:
    """What the tests see of the program: ``program["name"](…)`` calls what that expression is in it.

    Args:
        channel: socket to the worker.
        pid: of the worker.
        deadline: of the monotonic clock.
    """

    def __init__(self, channel: int, pid: int, deadline: float) -> None:
        self._channel = channel
        self._pid = pid
        self._deadline = deadline

    def __getitem__(self, expression: str) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            call = {"function": expression, "args": worker.encode(list(args)), "kwargs": worker.encode(kwargs)}
            try:
                worker.send(self._channel, call)
            except OSError:
                self._ended()
            return self.answer()

        return function

    def answer(self) -> Any:
        """The next value that the worker sends; an exception that it sends is raised."""
        if not select.select([self._channel], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
            raise Stop("timeout", "the program didn't answer in time")
        try:
            reply = worker.receive(self._channel, most=_LARGEST_ANSWER)
        except OSError:
            reply = None
        except MemoryError as error:
            raise Stop("memory", "the program's answer is too large") from error
        except (ValueError, RecursionError, TypeError, LookupError) as error:
            raise Stop("failed", "the program's answer can't be read") from error
        if reply is None:
            self._ended()
        if "error" in reply:
            _raise(*reply["error"])
        try:
            return worker.decode(reply["value"])
        except (ValueError, RecursionError, TypeError, LookupError, AttributeError) as error:
            raise Stop("failed", "the program's answer can't be read") from error

    def wait(self) -> None:
        """Waits until the worker has ended with exit code 0."""
        ended = os.pidfd_open(self._pid)
        if not select.select([ended], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
            raise Stop("timeout", "the program didn't end in time")
        status = os.waitpid(self._pid, 0)[1]
        if os.WIFSIGNALED(status):
            raise _ending(status)
        if code := os.WEXITSTATUS(status):
            raise Stop("failed", f"the program ended with code {code}")

    def _ended(self) -> NoReturn:
        raise _ending(os.waitpid(self._pid, 0)[1])


def main() -> None:
    """Reads a request from standard input, writes one verdict to standard output; both are JSON."""
    request = json.load(sys.stdin)
    try:
        confine.enter_namespaces(confine.write_user_map)
    except OSError as error:
        _verdict("unavailable", str(error))
    judge = os.fork()
    if judge == 0:
        try:
            confine.replace_root(sys.executable, request["files"])
            _judge(request)
        except OSError as error:
            _verdict("unavailable", str(error))
        except BaseException as error:
            _verdict("crashed", f"the judge failed: {error!r}")
    os.waitpid(judge, 0)


def _judge(request: dict[str, Any]) -> NoReturn:
    os.umask(0)
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    theirs, ours = socket.socketpair()
    deadline = time.monotonic() + request["wall"]
    pid = os.fork()
    if pid == 0:
        _start(request, theirs, output, errors)
    theirs.close()
    channel = ours.detach()
    confine.drop_privileges({resource.RLIMIT_AS: _JUDGE_MEMORY, resource.RLIMIT_CORE: 0})
    confine.hide_memory()
    program = Program(channel, pid, deadline)
    outcome, detail = "passed", ""
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, request["wall"] + 1)
    try:
        worker.send(channel, {"code": request["code"]})
        if request["tests"] is None:
            program.wait()
        else:
            program.answer()
            sys.stdout = io.StringIO()  # the real one carries the verdict
            exec(compile(request["tests"], "<tests>", "exec"), {"__name__": "tests", "program": program})  # noqa: S102
    except Stop as stop:
        outcome, detail = stop.outcome, stop.detail
    except BaseException as error:
        outcome, detail = "failed", ": ".join(part for part in worker.describe(error) if part)
    signal.setitimer(signal.ITIMER_REAL, 0)
    size = os.fstat(output).st_size
    if outcome not in ("passed", "timeout") and max(size, os.fstat(errors).st_size) >= request["output"]:
        outcome, detail = "output", f"more than {request['output']} bytes written"
    said = _tail(errors, 2000)
    if request["tests"] is None and outcome == "failed" and said:
        detail = said.splitlines()[-1]
        outcome = "memory" if detail.startswith("MemoryError") else outcome
    _verdict(outcome, detail, _tail(output, size if request["tests"] is None else 2000))


def _start(request: dict[str, Any], channel: socket.socket, output: int, errors: int) -> NoReturn:
    """Becomes the worker: nothing of this process is left but four descriptors."""
    try:
        given = os.memfd_create("input")
        with os.fdopen(os.dup(given), "wb") as file:
            file.write(request["stdin"].encode("utf-8", "surrogatepass"))
        os.lseek(given, 0, os.SEEK_SET)
        # Above the numbers that they get, so that none is overwritten before it is copied.
        high = [os.dup2(fd, 100 + number) for number, fd in enumerate((given, output, errors, channel.fileno()))]
        for number, fd in enumerate(high):
            os.dup2(fd, number, inheritable=True)
        os.closerange(_CHANNEL + 1, 65536)
        confine.drop_privileges(
            {
                resource.RLIMIT_CPU: request["cpu"],
                resource.RLIMIT_AS: request["memory"],
                resource.RLIMIT_FSIZE: request["output"],
                resource.RLIMIT_STACK: 32 << 20,
                resource.RLIMIT_NOFILE: 64,
                resource.RLIMIT_NPROC: request["threads"],
                resource.RLIMIT_CORE: 0,
            }
        )
        entry = "main_program" if request["tests"] is None else "serve"
        source = f"{request['worker']}\n{entry}({_CHANNEL})"
        command = [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", source]
        os.execve(sys.executable, command, {"PYTHONHASHSEED": "0"})  # noqa: S606 - no shell is the point
    finally:
        os._exit(111)


def _ending(status: int) -> Stop:
    """What the end of the worker means, from its wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL:  # the hard limit of CPU time, which a program that ignores SIGXCPU meets
            return Stop("timeout", "killed at its limit of CPU time")
        return Stop(_EXCEEDED.get(signal.Signals(number), "crashed"), f"ended by {signal.Signals(number).name}")
    return Stop("crashed", f"the program ended with code {os.WEXITSTATUS(status)} before the tests did")


def _raise(kind: str, text: str) -> NoReturn:
    """Raises an exception of the program in the tests."""
    import builtins

    if kind == "MemoryError":
        raise Stop("memory", text or "MemoryError")
    found = getattr(builtins, kind, None)
    if isinstance(found, type) and issubclass(found, Exception):
        with contextlib.suppress(TypeError):  # UnicodeDecodeError wants more than a text
            raise found(text)
    raise RemoteError(f"{kind}: {text}" if text else kind)


def _alarm(number: int, frame: Any) -> NoReturn:
    raise Stop("timeout", "the tests didn't end in time")


def _tail(file: int, size: int) -> str:
    start = max(0, os.fstat(file).st_size - size)
    return os.pread(file, size, start).decode("utf-8", "replace")


def _verdict(outcome: str, detail: str, stdout: str = "") -> NoReturn:
    """Writes the verdict and ends this process, and with it everything in its process namespace."""
    data = json.dumps({"outcome": outcome, "detail": detail, "stdout": stdout}).encode("ascii")
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)
