"""Our scoring against published predictions and real solutions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.benchmarks import _aime, _gpqa, _harness, _mmlu_pro, gsm8k, math500, mmlu_pro, svamp
from components.settings import Settings

DATA = Settings().shared / "data"


def rows(name: str) -> Iterator[dict[str, Any]]:
    path: Path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} isn't there; set LAPIDAR_SHARED to the folder with the shared data")
    return (json.loads(line) for line in path.read_bytes().split(b"\n") if line)


@pytest.fixture(scope="module")
def mmlu() -> dict[int, dict[str, Any]]:
    return {row["question_id"]: mmlu_pro.SOURCE.item(row) for row in rows("mmlu_pro/mmlu_pro_test.jsonl")}


def test_published_predictions_of_mmlu_pro_score_what_was_published(mmlu: dict[int, dict[str, Any]]) -> None:
    """44.19 % for Llama-3.1-8B-Instruct, through extraction and match, by both rules (its file has a letter everywhere)."""
    grade = _mmlu_pro.grader(_harness.load("mmlu_pro/mmlu_pro_biology.yaml"))
    right = official = n = 0
    for row in rows("mmlu_pro/preds_llama31_8b_instruct.jsonl"):
        found = grade(mmlu[row["question_id"]], f"… so the answer is ({row['pred']}).")
        right, official, n = right + found.scores["accuracy"], official + found.scores["official"], n + 1
    assert (n, len(mmlu)) == (12032, 12032)
    assert right / n == pytest.approx(0.4419, abs=5e-5)
    assert official == right


def test_raw_outputs_are_read_as_their_authors_read_them(mmlu: dict[int, dict[str, Any]]) -> None:
    """499 of 500 by the first pattern; the last, where a number ran on to the limit, is the authors' guess from their seed."""
    grade = _mmlu_pro.grader(_harness.load("mmlu_pro/mmlu_pro_biology.yaml"))
    outputs = list(rows("mmlu_pro/outputs_llama31_8b_instruct_first500.jsonl"))
    read = [grade(mmlu[row["question_id"]], row["generated_text"]).extracted for row in outputs]
    assert [letter for letter in read if letter is None] == [None]
    assert [letter for letter in read if letter] == [r["pred"] for r, letter in zip(outputs, read, strict=True) if letter]
    rule = [_mmlu_pro.official(r["generated_text"], len(mmlu[r["question_id"]]["options"])) for r in outputs]
    assert sum(a == r["pred"] for a, r in zip(rule, outputs, strict=True)) >= 499
    scores = [grade(mmlu[r["question_id"]], r["generated_text"]).scores for r in outputs]
    assert sum(s["accuracy"] for s in scores) == sum(
        r["pred"] == r["answer"] for r in outputs if "answer is" in r["generated_text"]
    )


def test_gsm8k_agrees_with_math_verify_on_real_solutions() -> None:
    from math_verify import parse, verify

    cot, plain = (gsm8k.grader(_harness.load(f"gsm8k/{name}.yaml")) for name in ("gsm8k-cot-zeroshot", "gsm8k"))
    for index, row in enumerate(rows("gsm8k/train.jsonl")):
        item, number = gsm8k.SOURCE.item(row), row["answer"].rpartition("#### ")[2]
        solved = plain(item, row["answer"])
        assert solved.scores == {"accuracy": 1.0, "strict": 1.0}, row
        told = row["answer"].replace("#### ", "The answer is ") + "."
        assert cot(item, told).scores == {"accuracy": 1.0, "strict": 1.0}, row
        if index % 20 == 0:
            assert verify(parse(number), parse(str(solved.extracted))), row
            wrong = row["answer"].rpartition("#### ")[0] + f"#### {int(number.replace(',', '')) + 1}"
            assert plain(item, wrong).scores == {"accuracy": 0.0, "strict": 0.0}
            assert not verify(parse(number), parse(str(plain(item, wrong).extracted)))


def test_math500_solutions_are_right_and_planted_answers_wrong() -> None:
    grade = math500.grader(_harness.load("hendrycks_math/hendrycks_math500.yaml"))
    items = [math500.SOURCE.item(row) for row in rows("math_eval/math500.jsonl")]
    assert len(items) == 500
    assert [item["id"] for item in items if grade(item, item["solution"]).scores["accuracy"] != 1] == []
    for item in items[::25]:
        wrong = grade(item, f"It is $\\boxed{{{item['answer']} + 1}}$.")
        assert wrong.scores["accuracy"] == 0, item
        assert grade(item, "I can't tell.").extracted is None


def test_svamp_reads_what_its_file_means() -> None:
    grade = svamp.grader()
    for row in rows("math_eval/svamp.jsonl"):
        item = svamp.SOURCE.item(row)
        assert grade(item, f"So there are {row['Answer']:,} of them.").scores["accuracy"] == 1, row
        assert grade(item, f"${row['Answer']:.0f}").scores["accuracy"] == 1
        assert grade(item, f"{row['Answer'] + 1}").scores["accuracy"] == 0
        assert item["question"].endswith(row["Question"].strip())
    assert grade(item, "many").extracted is None


@pytest.mark.parametrize(
    ("answer", "accuracy", "extracted"),
    [
        ("The sum is $\\boxed{204}$.", 1, "204"),
        ("so $x = 204$", 1, "204"),
        ("204", 1, "204"),
        ("The sum is $\\boxed{203}$, not 204.", 0, "203"),
        ("It is 204, I think.", 0, None),
        ("", 0, None),
    ],
)
def test_aime(answer: str, accuracy: float, extracted: str | None) -> None:
    found = _aime.grader(_harness.load("aime/aime24.yaml"))({"answer": "204"}, answer)
    assert (found.scores, found.extracted) == ({"accuracy": accuracy}, extracted)


@pytest.mark.parametrize(
    ("answer", "accuracy", "strict", "read"),
    [
        ("Neither (A) nor (C). The answer is (B).", 1, 1, True),
        ("It must be (B)", 1, 0, True),
        ("The answer is (D).", 0, 0, True),
        ("I don't know", 0, 0, False),
    ],
)
def test_gpqa(answer: str, accuracy: float, strict: float, read: bool) -> None:
    row = {"answer": "(B)", "choices": ["one metre", "two metres", "three metres", "four metres"]}
    found = _gpqa.grader(_harness.load("gpqa/cot_zeroshot/gpqa_main_cot_zeroshot.yaml"))(row, answer)
    assert found.scores == {"accuracy": accuracy, "strict": strict}
    assert (found.extracted is not None) == read


def test_gpqa_options_stand_in_an_order_of_their_own() -> None:
    """The same for every model, and the right one isn't always at the same place."""
    sample = _gpqa.source("main", 448).sample
    orders = [_gpqa.item({**sample, "Record ID": f"rec{i}"}) for i in range(40)]
    assert orders == [_gpqa.item({**sample, "Record ID": f"rec{i}"}) for i in range(40)]
    assert {order["answer"] for order in orders} == {"(A)", "(B)", "(C)", "(D)"}
    assert all(order["choices"]["ABCD".index(order["answer"][1])] == "2" for order in orders)
