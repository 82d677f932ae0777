"""Coding: LiveCodeBench's problems, whole (``LCB_generation``) or with the beginning given (``coding_completion``).

Rules of livebench/process_results/coding/utils.py, livebench/lcb_runner/utils/extraction_utils.py and
livebench/lcb_runner/evaluation/testing_util.py, run in the sandbox. A program passes if it passes every public and private test.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import math
import pickle
import zlib
from typing import Any

from components.sandbox.run import Limits, check, execute

SECONDS = 6
"""LiveCodeBench's limit for each test."""
_PRELUDE = """\
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, functools, operator
import io, sys, json
sys.setrecursionlimit(6 * 10**5)
"""
_FUNCTIONAL = """
import json
function = program[{name!r}]
for given, expected in json.loads({cases!r}):
    found = function(*[json.loads(line) for line in given.split("\\n")])
    right = json.loads(expected)
    if isinstance(found, tuple):
        found = list(found)
    same = found == right
    if isinstance(right, list) and right:
        same = same or found == right[0]
        if isinstance(found, list) and found and isinstance(found[0], tuple):
            same = same or [list(x) for x in found] == right[0]
    assert same
"""


def program(question: dict[str, Any], answer: str) -> str | None:
    """The last Markdown block, behind the beginning that the question gives unless it is repeated; None if there is no block."""
    lines = answer.split("\n")
    fences = [i for i, line in enumerate(lines) if "```" in line]
    if len(fences) < 2:
        return None
    code = "\n".join(lines[fences[-2] + 1 : fences[-1]])
    start = question.get("partial_solution") or ""
    return code if code.startswith(start) else f"{start}\n{code}"


def tests(question: dict[str, Any]) -> list[dict[str, str]]:
    """Public and private tests: ``{"input", "output", "testtype"}``; private ones may be packed.

    Raises:
        ValueError: if they can't be read.
    """
    return [*json.loads(question["public_test_cases"]), *_private(question["private_test_cases"])]


def passes(question: dict[str, Any], answer: str) -> float | None:
    """1 if the answer's program passes every test, else 0."""
    code = program(question, answer)
    if code is None:
        return None
    name = json.loads(question["original_json"]["metadata"]).get("func_name")
    cases = [(case["input"], case["output"]) for case in tests(question)]
    if name is not None:
        if "class Solution" in code:
            code, name = f"{code}\n\nthe_solution = Solution()\n", f"the_solution.{name}"
        source = _FUNCTIONAL.format(name=name, cases=json.dumps(cases))
        seconds = SECONDS * min(len(cases), 5)  # one limit for all, so that a loop doesn't cost minutes
        limits = Limits(cpu_seconds=seconds, wall_seconds=2.0 * seconds)
        return float(check(_PRELUDE + code, source, limits).passed)
    limits = Limits(cpu_seconds=SECONDS, wall_seconds=4.0 * SECONDS)
    for given, expected in cases:
        result = execute(_PRELUDE + _unguarded(code), given, limits)
        if not (result.passed or _left(result.detail)) or not same_output(result.stdout, expected):
            return 0.0
    return 1.0


def same_output(printed: str, expected: str) -> bool:
    r"""Equal but for space at the ends of lines, or equal line by line as numbers that aren't all whole.

    >>> same_output("1 2 \n3\n", "1 2\n3"), same_output("0.5000001", "0.5"), same_output("7", "8")
    (True, True, False)
    """
    lines = printed.splitlines()
    if expected.strip() in ("\n".join(lines).strip(), "\n".join(line.strip() for line in lines).strip()):
        return True
    right = [line.strip() for line in expected.split("\n") if line]
    lines = [line for line in lines if line]
    if lines == right:
        return True
    return len(lines) == len(right) and not all(map(str.isdigit, [*lines, *right])) and _close(lines, right)


def _close(lines: list[str], right: list[str]) -> bool:
    """By NumPy's measure of closeness, which LiveCodeBench uses."""
    try:
        pairs = [(float(a), float(b)) for a, b in zip(lines, right, strict=True)]
    except ValueError:
        return False
    return all(a == b or (math.isfinite(a - b) and abs(a - b) <= 1e-8 + 1e-5 * abs(b)) for a, b in pairs)


def _left(detail: str) -> bool:
    """Whether a script ended by ``exit()``, which LiveCodeBench takes for its end."""
    return detail.startswith("the program ended with code")


def _unguarded(code: str) -> str:
    """The code with a last ``if __name__ == '__main__':`` taken off its block, and nothing of its output lost."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return code
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.If) or ast.unparse(last.test).strip() != "__name__ == '__main__'":
        return code
    return ast.unparse([*tree.body[:-1], *last.body])  # type: ignore[arg-type]


class _OnlyData(pickle.Unpickler):
    """Reads the packed text, and refuses whatever would name code."""

    def find_class(self, module: str, name: str) -> Any:
        """Nothing has a class here."""
        raise ValueError(f"packed test cases name {module}.{name}, where only a text may be")


def _private(packed: str) -> list[dict[str, str]]:
    """JSON, or JSON pickled, compressed and in base64."""
    try:
        found = json.loads(packed)
    except ValueError:
        data = zlib.decompress(base64.b64decode(packed.encode()))
        found = json.loads(_OnlyData(io.BytesIO(data)).load())
    return list(found)
