"""Ctrl-C at a prompt in a real terminal, also in the moment in which readline notices no signal."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Called by readline when the prompt is shown and no key was waited for yet; C's own ``raise`` runs no line of Python behind it.
RACE = "import ctypes, functools, readline; readline.set_pre_input_hook(functools.partial(getattr(ctypes.CDLL(None), 'raise'), 2))"
SAY = """
from flows.prompt import read_line
try:
    print("read", read_line("> "))
except KeyboardInterrupt:
    print("interrupted")
except EOFError:
    print("ended")
readline.set_pre_input_hook()
print("read", input("again> "))
"""


@pytest.mark.parametrize(
    ("begin", "keys", "shown"),
    [
        (RACE, [("again> ", "second\r")], ["interrupted", "read second"]),
        ("import readline", [("> ", "first\r"), ("again> ", "second\r")], ["read first", "read second"]),
        ("import readline", [("> ", "fir\x03"), ("again> ", "second\r")], ["interrupted", "read second"]),
        ("import readline", [("> ", "\x04"), ("again> ", "second\r")], ["ended", "read second"]),
    ],
)
def test_a_line_is_read_or_interrupted(begin: str, keys: list[tuple[str, str]], shown: list[str]) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-c", begin + SAY], {"PYTHONPATH": str(ROOT), "TERM": "dumb"})
    seen, at = "", 0
    for words, typed in keys:
        while words not in seen[at:]:  # pytest's own limit ends what never comes
            seen += os.read(terminal, 4096).decode()
        at = len(seen)
        os.write(terminal, typed.encode())
    try:
        while data := os.read(terminal, 4096):
            seen += data.decode()
    except OSError:  # the other side is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    places = [seen.find(words) for words in shown]
    assert min(places) >= 0, seen
    assert places == sorted(places)
