"""Runs untrusted Python: ``check`` a program against tests, ``execute`` it as a script, many of them at a time.

A program runs in Linux namespaces of its own: no network, no files but the interpreter's and an empty folder, no other
processes, an unprivileged user, no new processes, limits on time, memory and output (``confine``). Where the kernel refuses
any of that, nothing runs: there is no way to run a program outside. A check passes if the *tests* came to their end, which
happens in another process than the program's (``jail``).

Sample: ``check("def double(x): return 2 * x", "assert program['double'](4) == 8").passed``
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from components.errors import LapidarError
from components.sandbox import confine, jail, worker

Outcome = Literal["passed", "failed", "timeout", "memory", "output", "crashed"]
T = TypeVar("T")

_BOOT = "import sys; sys.path.insert(0, {root!r}); from components.sandbox.jail import main; main()"
_GRACE = 10.0  # seconds beyond the program's own limit after which the whole group is killed


class SandboxUnavailable(LapidarError):
    """The machine can't confine a program."""


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        cpu_seconds: CPU time; deterministic where wall time isn't.
        wall_seconds: time with everything that it waits for.
        memory_mb: address space of its only process, the interpreter included (about 30).
        output_kb: size of standard output, of standard error, and of each file.
        files_mb: size of all files together.
        threads: its own, and the judge.
    """

    cpu_seconds: int = 10
    wall_seconds: float = 30.0
    memory_mb: int = 1024
    output_kb: int = 4096
    files_mb: int = 16
    threads: int = 32


@dataclass(frozen=True)
class Result:
    """What came of a program.

    Attributes:
        outcome: ``passed``: the tests, or the script, came to their end; ``failed``: an assertion or exception; ``timeout``,
            ``memory``, ``output``: a limit; ``crashed``: the program's process ended early or by a signal.
        detail: why it didn't pass, in a line.
        stdout: what it printed: the last 2,000 bytes in a check, all of it in an execution.
        seconds: wall time with the start of the sandbox.
    """

    outcome: Outcome
    detail: str
    stdout: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it came to its end."""
        return self.outcome == "passed"


def check(program: str, tests: str, limits: Limits | None = None) -> Result:
    """Runs tests against a program.

    Args:
        program: untrusted source that defines functions or classes.
        tests: trusted source, run in a process of its own after the program; ``program["f"](1)`` calls the program's ``f``.
            Arguments and results travel as plain data: the program can't change an argument in place.
        limits: the defaults, if None.

    Raises:
        SandboxUnavailable: if the machine can't confine it.
    """
    return _run(program, tests, "", limits or Limits())


def execute(program: str, stdin: str = "", limits: Limits | None = None) -> Result:
    """Runs a program as a script.

    Args:
        program: untrusted source.
        stdin: what it reads.
        limits: the defaults, if None.

    Raises:
        SandboxUnavailable: if the machine can't confine it.
    """
    return _run(program, None, stdin, limits or Limits())


def each(function: Callable[[T], Any], items: Iterable[T], workers: int | None = None) -> list[Any]:
    """``function`` of every item, in their order, several at a time; for functions that wait for a sandbox.

    Args:
        workers: the number of CPUs that this process may use, if None.
    """
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))


@cache
def require() -> None:
    """Refuses early what would fail for every program.

    Raises:
        SandboxUnavailable: with the remedy.
    """
    result = check("def one(): return 1", "assert program['one']() == 1")
    if not result.passed:
        raise SandboxUnavailable(_sentence(f"a trial run {result.outcome}: {result.detail}"))


def _run(program: str, tests: str | None, stdin: str, limits: Limits) -> Result:
    if sys.platform != "linux":
        raise SandboxUnavailable(_sentence(f"{sys.platform} isn't Linux"))
    request = {
        "code": program,
        "tests": tests,
        "stdin": stdin,
        "worker": Path(worker.__file__).read_text(),
        "cpu": limits.cpu_seconds,
        "wall": limits.wall_seconds,
        "memory": limits.memory_mb << 20,
        "output": limits.output_kb << 10,
        "files": limits.files_mb << 20,
        "threads": limits.threads,
    }
    start = time.monotonic()
    verdict = _verdict(json.dumps(request).encode("ascii"), limits)
    if verdict["outcome"] == "unavailable":
        raise SandboxUnavailable(_sentence(verdict["detail"]))
    return Result(verdict["outcome"], verdict["detail"], verdict["stdout"], time.monotonic() - start)


def _verdict(request: bytes, limits: Limits) -> dict[str, Any]:
    """What the jail wrote; it is killed with all its processes if it takes longer than it should."""
    with subprocess.Popen(
        _command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}, start_new_session=True
    ) as process:
        try:
            answer, errors = process.communicate(request, timeout=limits.wall_seconds + _GRACE)
        except subprocess.TimeoutExpired:
            return {"outcome": "timeout", "detail": "killed from outside", "stdout": ""}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if answer:
        verdict: dict[str, Any] = json.loads(answer)
        return verdict
    lines = errors.decode("utf-8", "replace").splitlines()
    return {"outcome": "crashed", "detail": lines[-1] if lines else "the judge was killed", "stdout": ""}


@cache
def _command() -> Sequence[str]:
    interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    root = str(Path(confine.__file__).parents[2])
    assert jail.__file__ is not None  # imported so that its source belongs to the keys of stages that run programs
    return [interpreter, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _BOOT.format(root=root)]


def _sentence(reason: str) -> str:
    return (
        f"programs can't be run safely on this machine ({reason}), so nothing was run; the sandbox needs Linux with user "
        "namespaces: set sysctl user.max_user_namespaces above 0 (and kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), "
        "or give the container the right to call unshare and mount (docker: --security-opt seccomp=unconfined --cap-add SYS_ADMIN)"
    )
