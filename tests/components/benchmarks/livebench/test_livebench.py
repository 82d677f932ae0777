"""LiveBench's questions in its own form: which belong to a release, which verifier has them, and how scores add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import Inputs
from components.benchmarks import _instructions, livebench
from components.data import benchmarks
from components.errors import InputError, LapidarError
from components.settings import Settings


def question(number: int, category: str, task: str, truth: Any = "x", **fields: Any) -> dict[str, Any]:
    """A row as LiveBench publishes it."""
    return {
        "question_id": f"q{number}",
        "category": category,
        "task": task,
        "turns": [f"Question {number}?"],
        "ground_truth": truth,
        "livebench_release_date": "2024-06-24",
        "livebench_removal_date": "",
        **fields,
    }


CODE = {
    "public_test_cases": '[{"input": "1", "output": "1", "testtype": "stdin"}]',
    "private_test_cases": "[]",
    "original_json": {"metadata": "{}", "contest_date": "2024-01-01"},
}
ROWS = [
    question(1, "math", "math_comp", "B", subtask="amc_12"),
    question(2, "math", "math_comp", "073", subtask="aime_2024"),
    question(3, "math", "olympiad", "1,2,3", subtask="imo"),
    question(4, "math", "AMPS_Hard", "7", subtask="amps_hard_integral"),
    question(5, "reasoning", "web_of_lies_v2", "yes, no, yes"),
    question(6, "reasoning", "zebra_puzzle", "a, b", livebench_release_date="2024-11-25T00:00:00"),
    question(7, "reasoning", "spatial", "4", livebench_removal_date="2024-11-25"),
    question(8, "data_analysis", "cta", "Country"),
    question(9, "data_analysis", "tablejoin", "{'a': 'b'}"),
    question(
        10, "data_analysis", "tablereformat", "a\n1", turns=["Please convert the Input Table from JSON format to CSV format."]
    ),
    question(11, "language", "typos", "The cat."),
    question(12, "language", "connections", "a,b,c,d"),
    question(13, "language", "plot_unscrambling", "A. B."),
    question(14, "coding", "LCB_generation", **CODE),
    question(15, "coding", "coding_completion", partial_solution="x = 1", **CODE),
]
RIGHT = {
    "q1": "BBBBB",
    "q2": "it is 073",
    "q3": "Answer: 1,2,3",
    "q4": r"$\boxed{7}$",
    "q5": "**yes, no, yes**",
    "q6": "<solution>a, b</solution>",
    "q7": "**4**",
    "q8": "country",
    "q9": "{'a': 'b'}",
    "q10": "a\n1",
    "q11": "The cat.",
    "q12": "**d, c, b, a**",
    "q13": "A. B.",
    "q14": "```\nprint(input())\n```",
    "q15": "```\nprint(x)\n```",
}


def stored(folder: Path, rows: list[dict[str, Any]]) -> Inputs:
    made = benchmarks.store("livebench", livebench.SOURCE, folder / "rows.jsonl", rows, None, Settings(home=folder / "home"))
    return Inputs(None, {}, {"livebench": made.ref})


def measured(inputs: Inputs, **settings: Any) -> list[str]:
    task = livebench.task(livebench.Config(**settings), inputs, None)
    return [row["id"] for row in task["custom_dataset"]()["test"]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return stored(tmp_path_factory.mktemp("livebench"), ROWS)


def test_every_task_has_its_verifier(inputs: Inputs) -> None:
    items = [livebench.SOURCE.item(row) for row in ROWS]
    assert [livebench.grade(item, RIGHT[item["id"]]).scores["accuracy"] for item in items] == [1.0] * len(ROWS)
    wrong = [livebench.grade(item, "<think>" + RIGHT[item["id"]] + "</think>I give up.") for item in items]
    scores = {item["id"]: one.scores["accuracy"] for item, one in zip(items, wrong, strict=True)}
    assert scores.pop("q13") == 0.5  # LiveBench's rule: every sentence is likest to something, and the first one fits
    assert set(scores.values()) == {0.0}


def test_instruction_following() -> None:
    try:
        _instructions.names()
    except LapidarError as error:
        pytest.skip(str(error))
    ids, arguments = ["punctuation:no_comma", "detectable_format:title"], [{"title": None}, {}]
    row = question(1, "instruction_following", "summarize", None, instruction_id_list=ids, kwargs=arguments)
    item = livebench.SOURCE.item(row)
    scores = [livebench.grade(item, a).scores["accuracy"] for a in ("<<A>> b", "<<A>>, b", "a, b", "")]
    assert scores == [1.0, 0.25, 0.0, 0.0]
    with pytest.raises(ValueError, match="IFBench"):
        livebench.SOURCE.item({**row, "livebench_release_date": "2025-11-25"})


def test_only_questions_of_a_release(inputs: Inputs) -> None:
    everything = [f"q{n}" for n in range(1, 16)]
    assert measured(inputs) == [q for q in everything if q != "q7"]  # never removed
    assert measured(inputs, release="2024-06-24") == [q for q in everything if q != "q6"]  # q7 was still there
    assert measured(inputs, release="2024-11-25") == [q for q in everything if q != "q7"]  # removed on that day
    assert measured(inputs, category="math") == ["q1", "q2", "q3", "q4"]
    assert measured(inputs, task="olympiad") == ["q3"]
    assert len(measured(inputs, limit=5)) == 5
    with pytest.raises(InputError, match="no question of category coding, task any, release 2020-01-01"):
        measured(inputs, category="coding", release="2020-01-01")


def test_tasks_and_categories_weigh_the_same(inputs: Inputs) -> None:
    groups = {"math/a": [1.0, 1.0, 1.0, 1.0], "math/b": [0.0], "coding/c": [1.0, 0.5]}
    items = [{"group": group, "scores": {"accuracy": score}} for group, scores in groups.items() for score in scores]
    found = livebench.summary(items)
    assert {name: estimate.value for name, estimate in found.items()} == {
        "accuracy@math": 0.5,
        "accuracy@coding": 0.75,
        "accuracy": 0.625,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "sudoku"}, "task 'sudoku' has no verifier here"),
        ({"turns": ["a", "b"]}, "one text"),
        ({"task": "math_comp", "subtask": "amc_12", "ground_truth": "7"}, "a letter from A to E"),
    ],
)
def test_wrong_rows_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"row 1 of rows\.jsonl: .*{message}"):
        stored(tmp_path, [{**question(1, "math", "olympiad"), **change}])


def test_a_missing_truth_is_named(tmp_path: Path) -> None:
    row = question(1, "reasoning", "spatial")
    del row["ground_truth"]
    with pytest.raises(InputError, match=r"row 1 of rows\.jsonl has no 'ground_truth'"):
        stored(tmp_path, [row])


def test_one_answer_an_item() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1"):
        livebench.Config(n=2, temperature=1.0)


def test_the_stored_form_keeps_what_verifiers_need() -> None:
    item = livebench.SOURCE.item(ROWS[14])
    assert all(isinstance(value, str) for value in item.values())
    assert json.loads(item["question"])["partial_solution"] == "x = 1"
