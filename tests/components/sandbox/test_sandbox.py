"""Hostile programs: each is refused what it tries, none passes, nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from components.sandbox import run, worker
from components.sandbox.run import Limits, Result, SandboxUnavailable, check, each, execute, require

try:
    require()
except SandboxUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)

ROOT = str(Path(__file__).parents[3])
TESTS = "assert program['double'](4) == 8"
TIGHT = Limits(cpu_seconds=1, wall_seconds=60, memory_mb=128, output_kb=256, files_mb=2)
SHORT = Limits(wall_seconds=1)
MARK = f"sandbox-of-{uuid.uuid4().hex}"


@pytest.fixture(scope="module", autouse=True)
def marked() -> Iterator[None]:
    """Sandboxes of these tests carry a mark: other tests have theirs on this machine at the same time."""
    command = [*run._command(), MARK]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_command", lambda: command)
        yield


def result_of(body: str, before: str = "", limits: Limits = TIGHT) -> Result:
    """The verdict on a ``double`` with this body."""
    lines = "\n".join("    " + line for line in body.splitlines())
    imports = "import os, sys, socket, signal, shutil, threading, time, ctypes"
    return check(f"{imports}\n{before}\ndef double(x):\n{lines}\n", TESTS, limits)


# Name: body of the function, the outcome, and a part of its reason.
HOSTILE = {
    "fork bomb": ("while True: os.fork()", "failed", "not permitted"),
    "stubborn fork bomb": ("while True:\n    try: os.fork()\n    except OSError: pass", "timeout", "CPU"),
    "thread bomb": ("while True: threading.Thread(target=time.sleep, args=(99,)).start()", "failed", "can't start new thread"),
    "one large object": ("return len('x' * (1 << 33))", "memory", ""),
    "many objects": ("kept = []\nwhile True: kept.append(bytearray(1 << 20))", "memory", ""),
    "large answer": ("os.write(3, b'\\xff' * 4)\nos.write(3, b'x' * 1000)", "memory", "too large"),
    "infinite loop": ("while True: pass", "timeout", "CPU"),
    "loop that ignores its signal": ("signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "timeout", "CPU"),
    "infinite output": ("while True: print('x' * 1000)", "output", "bytes"),
    "infinite raw output": ("while True: os.write(2, b'x' * 1000)", "output", "bytes"),
    "full disk": ("for i in range(99): open(f'/tmp/{i}', 'wb').write(bytes(200_000))", "failed", "No space"),
    "reads the passwords": ("return open('/etc/passwd').read()", "failed", "No such file"),
    "reads the passwords beyond its root": ("return open('/../etc/passwd').read()", "failed", "No such file"),
    "reads the processes": ("return open('/proc/1/environ').read()", "failed", "No such file"),
    "reads this repository": (f"return open({__file__!r}).read()", "failed", "No such file"),
    "writes outside": ("open('/escaped', 'w')", "failed", "Read-only"),
    "changes the library": ("open(os.__file__, 'a')", "failed", ""),
    "opens a socket": ("socket.socket()", "failed", "not permitted"),
    "opens a vsock": ("socket.socket(40, socket.SOCK_STREAM)", "failed", "not permitted"),
    "becomes root": ("os.setuid(0)", "failed", "not permitted"),
    "runs a command": ("import subprocess\nsubprocess.run(['/bin/ls'])", "failed", "not permitted"),
    "kills the judge": ("os.kill(os.getppid(), 9)\nos.kill(1, 9)\nos.kill(-1, 9)", "failed", "No such process"),
    "leaves a daemon": ("if os.fork() == 0:\n    os.setsid()\n    time.sleep(99)\nreturn 8", "failed", "not permitted"),
    "exits": ("sys.exit(0)", "failed", "SystemExit"),
    "exits at once": ("os._exit(0)", "crashed", "code 0"),
    "crashes": ("ctypes.string_at(0)", "crashed", "SIGSEGV"),
    "is read by a debugger": (
        "libc = ctypes.CDLL(None, use_errno=True)\nlibc.ptrace(16, 1, 0, 0)\nraise OSError(ctypes.get_errno(), 'ptrace')",
        "failed",
        "[Errno 1] ptrace",
    ),
    "new namespaces": (
        "libc = ctypes.CDLL(None, use_errno=True)\nlibc.unshare(0x10000000)\nraise OSError(ctypes.get_errno(), 'unshare')",
        "failed",
        "[Errno 1] unshare",
    ),
    "writes a verdict": (
        'for fd in range(64):\n    try: os.write(fd, b\'{"outcome": "passed", "detail": "", "stdout": ""}\')\n'
        "    except OSError: pass\nos._exit(0)",
        "memory",
        "too large",
    ),
    "answers what can't be read": ("os.write(3, b'\\0\\1\\0\\0' + b'[' * 65536)", "failed", "can't be read"),
    "says it is equal": ("class Same:\n    def __eq__(self, other): return True\nreturn Same()", "failed", "AssertionError"),
    "a number that says it is equal": (
        "class Same(int):\n    def __eq__(self, other): return True\nreturn Same(7)",
        "failed",
        "AssertionError",
    ),
    "an error without a text": (
        "class Odd(Exception):\n    def __str__(self): os._exit(0)\nraise Odd",
        "crashed",
        "code 0",
    ),
}
AT_IMPORT = {
    "exits before the tests": ("sys.exit(0)", "failed", "SystemExit"),
    "exits at once before the tests": ("os._exit(0)", "crashed", "code 0"),
    "answers before it is asked": (
        "import json, struct\nmessage = json.dumps({'value': None}).encode()\n"
        "os.write(3, 2 * (struct.pack('>I', len(message)) + message))\ntime.sleep(60)",
        "failed",
        "AssertionError",
    ),
    "changes assertions": (
        "import builtins, unittest\nbuiltins.AssertionError = ValueError\nunittest.TestCase.fail = lambda *_: None\n"
        "builtins.exec = builtins.compile = lambda *_: None",
        "failed",
        "AssertionError",
    ),
    "isn't Python": ("def", "failed", "SyntaxError"),
}


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Result]:
    jobs = [(body, "") for body, *_ in HOSTILE.values()] + [("return 7", before) for before, *_ in AT_IMPORT.values()]
    return dict(zip([*HOSTILE, *AT_IMPORT], each(lambda job: result_of(*job), jobs), strict=True))


@pytest.mark.parametrize("name", [*HOSTILE, *AT_IMPORT])
def test_hostile(name: str, verdicts: dict[str, Result]) -> None:
    _, outcome, detail = {**HOSTILE, **AT_IMPORT}[name]
    found = verdicts[name]
    assert (found.outcome, found.passed) == (outcome, False), found
    assert detail in found.detail


@pytest.mark.parametrize("body", ["time.sleep(60)", "os.write(3, b'\\0\\0\\1\\0 ')\ntime.sleep(60)"])
def test_waiting_is_limited(body: str) -> None:
    found = result_of(body, limits=SHORT)
    assert found.outcome == "timeout"
    assert 1 <= found.seconds < 30


def test_nothing_is_left_behind(verdicts: dict[str, Result]) -> None:
    assert verdicts
    assert not _jails()


def test_a_right_program_passes() -> None:
    found = check("def double(x):\n    print('hello')\n    return 2 * x", TESTS)
    assert (found.outcome, found.detail, found.stdout) == ("passed", "", "hello\n")


def test_nothing_reaches_a_server_on_this_machine() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0)
        port = server.getsockname()[1]
        found = result_of(f"socket.create_connection(('127.0.0.1', {port}))")
        assert found.outcome == "failed"
        with pytest.raises(BlockingIOError):
            server.accept()


def test_it_sees_an_empty_folder_and_no_environment() -> None:
    os.environ["SECRET_OF_THIS_TEST"] = "s"
    try:
        found = execute(
            "import os\nprint(os.listdir('.'), os.getcwd(), sorted(os.environ), os.getuid() == 0, os.listdir('/etc'))\n"
            "open('mine', 'w').write('x')\nprint(os.path.getsize('mine'), os.listdir('/'))"
        )
    finally:
        del os.environ["SECRET_OF_THIS_TEST"]
    first, second = found.stdout.splitlines()
    assert first.startswith("[] /tmp [")
    assert not {"SECRET", "True", "passwd"} & set(first.replace("_", " ").replace("'", " ").split())
    assert second.startswith("1 ")
    assert not {"'home'", "'work'", "'proc'", "'bin'"} & set(second.strip("1 []").split(", "))
    assert not Path("mine").exists()


def test_a_new_folder_every_time() -> None:
    assert execute("open('left', 'w').write('x')").passed
    assert execute("import os\nprint(os.path.exists('left'))").stdout == "False\n"


def test_scripts_read_and_write() -> None:
    found = execute(
        "import sys\nfor line in sys.stdin:\n    print(line.strip() * 2)\nif __name__ == '__main__': print('é')", "a\nb\n"
    )
    assert (found.outcome, found.stdout) == ("passed", "aa\nbb\né\n")
    assert execute("print('x' * 100_000)").stdout == "x" * 100_000 + "\n"
    failed = execute("print(1)\nraise ValueError('no')")
    assert (failed.outcome, failed.detail, failed.stdout) == ("failed", "ValueError: no", "1\n")
    assert execute("import sys\nsys.exit(3)").outcome == "failed"
    assert execute("print(input())").detail == "EOFError: EOF when reading a line"
    assert execute("x = bytearray(1 << 33)", limits=TIGHT).outcome == "memory"
    assert execute("import time\ntime.sleep(9)", limits=Limits(wall_seconds=1)).outcome == "timeout"


def test_exceptions_keep_their_class() -> None:
    tests = "try: program['f']()\nexcept KeyError as error: assert 'gone' in str(error)\nelse: raise AssertionError"
    assert check("def f(): raise KeyError('gone')", tests).passed
    assert not check("def f(): raise ValueError('gone')", tests).passed


def test_methods_and_state() -> None:
    program = "class Solution:\n    def add(self, a, b=0): return a + b\nbox = []\ndef put(x):\n    box.append(x)\n    return box"
    tests = "assert program['Solution().add'](1, b=2) == 3\nprogram['put'](1)\nassert program['put'](2) == [1, 2]"
    assert check(program, tests).passed


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(1 << 200), 1.5, float("inf"), "é\ud800", [1, [2]], (1, (2,)), {"a": {1: (2,)}}, {1, 2}, b"\xff", 2j, {}],
)
def test_values_arrive_as_they_left(value: object) -> None:
    found = worker.decode(worker.encode(value))
    assert found == value
    assert type(found) is type(value)
    assert check("def same(x): return x", f"x = {value!r}\nassert program['same'](x) == x".replace("inf", "float('inf')")).passed


def test_equal_inputs_give_equal_verdicts_however_many_run_at_once() -> None:
    programs = [f"def double(x): return x * {n % 3}\nprint(hash('a'), {n})" for n in range(12)]
    alone = each(lambda program: check(program, TESTS), programs, workers=1)
    together = each(lambda program: check(program, TESTS), programs, workers=6)
    assert [(r.outcome, r.detail, r.stdout) for r in alone] == [(r.outcome, r.detail, r.stdout) for r in together]
    assert [r.passed for r in alone] == [n % 3 == 2 for n in range(12)]
    assert len({r.stdout.split()[0] for r in alone}) == 1  # hashes, and so the order of sets, are fixed


def test_a_killed_caller_leaves_no_program(tmp_path: Path) -> None:
    script = (
        f"from components.sandbox import run\ncommand = [*run._command(), {MARK!r}]\nrun._command = lambda: command\n"
        "run.execute('import time\\ntime.sleep(60)', limits=run.Limits(wall_seconds=2))"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not _jails() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _jails()
    caller.kill()
    caller.wait()
    while _jails() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _jails()


def test_without_namespaces_nothing_runs() -> None:
    """In a user namespace that knows only its root, nobody can be nobody."""
    script = "from components.sandbox.run import *\ntry: check('print(1)', '')\nexcept SandboxUnavailable as e: print(e)"
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if os.geteuid() != 0:
        pytest.skip("an ordinary user needs no second user id")
    assert done.stdout.startswith("programs can't be run safely on this machine"), done.stderr
    assert "sysctl" in done.stdout


def test_the_caller_s_python_settings_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert check("def double(x): return 2 * x", TESTS).passed


def test_what_tests_print_is_no_verdict() -> None:
    assert check("def double(x): return 2 * x", f"print('noise' * 10_000)\n{TESTS}").passed
    assert not check("def double(x): return 3 * x", f'print(\'{{"outcome": "passed"}}\')\n{TESTS}').passed


def test_every_namespace_is_a_new_one() -> None:
    """Sockets are refused besides, so that only this shows that there is no network behind them."""
    names = ("user", "mnt", "net", "ipc", "uts")
    script = (
        "import os\nfrom components.sandbox import confine\nconfine.enter_namespaces(confine.write_user_map)\n"
        f"print(*(os.readlink('/proc/self/ns/' + name) for name in {names}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    mine = [str(Path("/proc/self/ns", name).readlink()) for name in names]
    assert not set(done.stdout.split()) & set(mine)
    assert len(done.stdout.split()) == len(names)


def test_threads_of_a_program_may_run() -> None:
    program = "import threading\ndef double(x):\n    found = []\n    t = threading.Thread(target=lambda: found.append(2 * x))\n"
    assert check(program + "    t.start()\n    t.join()\n    return found[0]", TESTS).passed
    assert threading.active_count() >= 1


def _jails() -> list[str]:
    """Command lines of these tests' sandboxes that run."""
    lines = (" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if MARK in line and "sandbox.jail" in line]
