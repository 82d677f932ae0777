"""LiveBench's coding tasks in the sandbox, and the packed tests of its questions."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from typing import Any

import pytest

from components.benchmarks._livebench import coding
from components.sandbox.run import SandboxUnavailable, require

try:
    require()
except SandboxUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)


def question(cases: list[tuple[str, str]], name: str | None = None, private: str = "[]", start: str = "") -> dict[str, Any]:
    kind = "functional" if name else "stdin"
    public = [{"input": a, "output": b, "testtype": kind} for a, b in cases]
    return {
        "public_test_cases": json.dumps(public),
        "private_test_cases": private,
        "original_json": {"metadata": json.dumps({"func_name": name} if name else {})},
        "partial_solution": start,
    }


def packed(cases: list[dict[str, str]]) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def fenced(code: str) -> str:
    return f"Here:\n```python\n{code}\n```\nDone."


DOUBLE = [("1\n", "2\n"), ("21\n", "42")]
SUM = [("[1, 2]\n3", "6"), ("[]\n0", "0")]


@pytest.mark.parametrize(
    ("code", "score"),
    [
        ("print(int(input()) * 2)", 1),
        ("print(int(input()) * 2, end='  \\n\\n')", 1),
        ("import sys\nfor line in sys.stdin:\n    print(float(line) * 2)", 1),  # 2.0 for 2: numbers, not all whole
        ("if __name__ == '__main__':\n    print(int(input()) * 2)", 1),
        ("def main():\n    print(int(input()) * 2)\nmain()\nexit()", 1),
        ("print(int(input()) + 1)", 0),
        ("x = int(input())\nprint(x * 2)\nraise ValueError", 0),
        ("print(int(input()) * 2", 0),
        ("while True: pass", 0),
        ("import os\nos.system('true')\nprint(int(input()) * 2)", 1),
        ("print(open('/etc/hostname').read())", 0),
    ],
)
def test_programs_that_read_and_write(code: str, score: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "SECONDS", 2)
    assert coding.passes(question(DOUBLE), fenced(code)) == score


@pytest.mark.parametrize(
    ("code", "score"),
    [
        (
            "class Solution:\n    def total(self, xs: List[int], y: int) -> int:\n        return sum(xs) + y",
            1,
        ),  # the imports are there
        ("def total(xs, y): return sum(xs) + y", 1),
        ("class Solution:\n    def total(self, xs, y):\n        return 6", 0),
        ("class Solution:\n    def other(self, xs, y):\n        return sum(xs) + y", 0),
        ("import os\nos._exit(0)", 0),
        ("class Solution:\n    def total(self, xs, y):\n        return accumulate([*xs, y])", 0),
    ],
)
def test_functions(code: str, score: float) -> None:
    assert coding.passes(question(SUM, "total"), fenced(code)) == score


def test_tuples_are_lists_and_strings_are_quoted() -> None:
    pair = question([('"ab"', '["a", "b"]')], "split")
    assert coding.passes(pair, fenced("def split(s): return tuple(s)")) == 1
    assert coding.passes(pair, fenced("def split(s): return [(x,) for x in s]")) == 0


def test_private_tests_count_and_may_be_packed() -> None:
    private = [{"input": "5\n", "output": "10", "testtype": "stdin"}]
    only_public = "n = int(input())\nprint({1: 2, 21: 42}.get(n))"
    for given in (json.dumps(private), packed(private)):
        assert coding.passes(question(DOUBLE, private=given), fenced("print(int(input()) * 2)")) == 1
        assert coding.passes(question(DOUBLE, private=given), fenced(only_public)) == 0


def test_packed_tests_may_not_run_code() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, ("touch /tmp/never",)

    bomb = base64.b64encode(zlib.compress(pickle.dumps(Bomb()))).decode()
    with pytest.raises(ValueError, match="where only a text may be"):
        coding.tests(question(DOUBLE, private=bomb))


def test_a_given_beginning_is_put_before_the_rest() -> None:
    start = "def total(xs, y):\n    s = sum(xs)"
    asked = question(SUM, "total", start=start)
    assert coding.passes(asked, fenced("    return s + y")) == 1
    assert coding.passes(asked, fenced(f"{start}\n    return s + y")) == 1  # repeated
    assert coding.passes(asked, fenced("    return s")) == 0


def test_an_answer_without_a_block_has_no_program() -> None:
    assert coding.passes(question(DOUBLE), "print(int(input()) * 2)") is None
    assert coding.program(question(DOUBLE), "```python\nfirst\n```\nno:\n```python\nlast\n```") == "last"
