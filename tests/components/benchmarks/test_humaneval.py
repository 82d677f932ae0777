"""HumanEval's items judged in the sandbox: right solutions pass, planted faults fail, and code is found in what models write."""

from __future__ import annotations

from typing import Any

import pytest

from components.benchmarks import humaneval
from components.benchmarks._ahead import Ahead
from components.benchmarks._task import Graded, scores_of
from components.data import records
from components.sandbox.run import Limits, SandboxUnavailable, each, require
from components.settings import Settings

DATA = Settings().shared / "data" / "humaneval" / "HumanEval.jsonl.gz"
ROW = humaneval.SOURCE.item(humaneval.SOURCE.sample)
STOPS = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]

try:
    require()
except SandboxUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    if not DATA.is_file():
        pytest.skip(f"{DATA} isn't there; set LAPIDAR_SHARED to the folder with the shared data")
    return [humaneval.SOURCE.item(row) for row in records.read(DATA)]


@pytest.mark.slow
def test_every_canonical_solution_passes(rows: list[dict[str, Any]]) -> None:
    found = each(lambda row: humaneval.grade_program(row, row["prompt"] + row["answer"]), rows)
    assert [row["id"] for row, one in zip(rows, found, strict=True) if one.scores["accuracy"] != 1] == []
    assert len(rows) == 164


@pytest.mark.slow
@pytest.mark.parametrize("body", ["    return None\n", "    raise ValueError\n"])
def test_every_planted_fault_fails(rows: list[dict[str, Any]], body: str) -> None:
    found = each(lambda row: humaneval.grade_program(row, row["prompt"] + body), rows)
    assert [row["id"] for row, one in zip(rows, found, strict=True) if one.scores["accuracy"] != 0] == []


def test_helpers_of_the_prompt_are_there_for_tests_and_program(rows: list[dict[str, Any]]) -> None:
    """Items whose tests use what stands before the function (32, 38, 50), or the function itself (33)."""
    some = [row for row in rows if row["id"].split("/")[1] in ("32", "33", "38", "50")]
    assert [one.scores["accuracy"] for one in each(lambda r: humaneval.grade_program(r, r["prompt"] + r["answer"]), some)] == [
        1.0
    ] * 4
    fenced = [f"```python\n{row['prompt'][row['prompt'].index('def ' + row['entry_point']) :]}{row['answer']}```" for row in some]
    programs = [humaneval.chat_program(row, answer) for row, answer in zip(some, fenced, strict=True)]
    found = each(lambda pair: humaneval.grade_program(*pair), list(zip(some, programs, strict=True)))
    assert [one.scores["accuracy"] for one in found] == [1.0] * 4


FULL = "def add(x, y):\n    return x + y\n"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (f"Here it is:\n```python\n{FULL}```\nIt adds.", True),
        (f"```\n{FULL}```", True),
        (f"```python\n{FULL}", True),  # cut before the fence was closed
        (f"First try:\n```python\ndef add(x, y):\n    return x - y\n```\nBetter:\n```python\n{FULL}```", True),
        (f"```python\n{FULL}```\nUse it so:\n```python\nprint(add(1, 2))\n```", True),
        (f"```bash\npip install math\n```\n```python\n{FULL}```", True),
        ("```python\nreturn x + y\n```", True),  # a body alone
        ("```python\n    return x + y\n```", True),
        (FULL, True),
        ("    return x + y\n", True),
        ("add = lambda x, y: x + y", True),
        ("```python\ndef add(x, y):\n    return x - y\n```", False),
        ("```python\ndef plus(x, y):\n    return x + y\n```", False),
        ("I can't do that.", False),
        ("```python\nimport os\nos._exit(0)\n```", False),
    ],
)
def test_code_in_a_chat_answer(answer: str, right: bool) -> None:
    assert humaneval.grade_program(ROW, humaneval.chat_program(ROW, answer)).scores["accuracy"] == right


@pytest.mark.parametrize("answer", ["", "  \n", "```python\n```"])
def test_no_code_is_unparsed(answer: str) -> None:
    found = humaneval.grade_program(ROW, humaneval.chat_program(ROW, answer))
    assert found == Graded({"accuracy": 0.0}, None)
    assert humaneval.base_program(ROW, " \n", STOPS) is None


def test_a_base_model_is_stopped_where_the_function_ends() -> None:
    program = humaneval.base_program(ROW, "    return x + y\n\ndef broken(:\n", STOPS)
    assert program is not None
    assert "broken" not in program
    assert humaneval.grade_program(ROW, program).scores["accuracy"] == 1


def test_time_is_limited() -> None:
    looping = ROW["prompt"] + "    while True: pass\n"
    assert humaneval.grade_program(ROW, looping, Limits(cpu_seconds=1)).scores["accuracy"] == 0


def test_pass_at_k_rests_on_the_verdicts() -> None:
    grades = [
        humaneval.grade_program(ROW, ROW["prompt"] + body) for body in ("    return x + y\n", "    return x\n", "    return y\n")
    ]
    scores = scores_of(grades, (1, 2, 3))
    assert scores["pass_at_1"] == pytest.approx(1 / 3)
    assert scores["pass_at_2"] == pytest.approx(2 / 3)
    assert scores["pass_at_3"] == 1


def test_all_answers_are_graded_before_the_first_is_asked_for() -> None:
    asked: list[str] = []

    def grade(row: dict[str, Any], answer: str) -> Graded:
        asked.append(answer)
        return Graded({"accuracy": float(answer == "b")}, answer)

    ahead = Ahead(grade, lambda row: row["id"] != "quick")
    settings = ahead.known_first({"filter_list": [{"name": "all", "filter": [{"function": "take_first_k", "k": 2}]}]})
    first = settings["filter_list"][0]["filter"][0]
    answers = [["a", "b"], ["a", "a"], ["c", "c"]]
    rows = [{"id": "1"}, {"id": "2"}, {"id": "quick"}]
    assert first["filter_fn"](answers, rows) == answers
    assert sorted(asked) == ["a", "a", "b"]
    assert [ahead({"id": "1"}, "b").scores["accuracy"], ahead({"id": "2"}, "a").scores["accuracy"]] == [1.0, 0.0]
    assert sorted(asked) == ["a", "a", "b"]
    ahead({"id": "quick"}, "c")
    assert sorted(asked) == ["a", "a", "b", "c"]
