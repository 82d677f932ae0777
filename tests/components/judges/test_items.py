from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from components.judges.answering import open_sides
from components.judges.items import Prompt, calibration_file, read_answers, read_calibration, read_prompts
from components.settings import Settings

SHARED = Settings().shared
PROMPTS = [Prompt("1", "Name a prime."), Prompt("2", "Name a square.")]


def _write(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_prompts_have_ids_of_their_own_or_of_their_text(tmp_path: Path) -> None:
    file = _write(tmp_path, {"id": 7, "prompt": "A?", "reference": "B"}, {"prompt": "C?"})
    first, second = read_prompts(file)
    assert first == Prompt("7", "A?", "B")
    assert len(second.id) == 16


def test_the_prompts_of_a_dataset_are_its_single_questions(tmp_path: Path) -> None:
    turns = [{"role": role, "content": text} for role, text in (("user", "Hi"), ("assistant", "Hello"), ("user", "And?"))]
    rows = [{"id": str(i), "prompt": prompt, "chosen": "a", "rejected": "b"} for i, prompt in enumerate(("Which?", turns))]
    (tmp_path / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [prompt.text for prompt in read_prompts(tmp_path)] == ["Which?"]
    with pytest.raises(InputError, match=r"row 2 of heldout\.jsonl has no 'prompt'"):
        read_prompts(tmp_path / "heldout.jsonl")


def test_the_prompts_of_a_dataset_are_its_held_out_split(tmp_path: Path) -> None:
    _write(tmp_path, {"id": "h1", "prompt": "A?", "answer": "x"}, name="heldout.jsonl")
    assert read_prompts(tmp_path) == [Prompt("h1", "A?")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "A?"}, {"question": "B?"}], "row 2 of rows.jsonl has no 'prompt'; a prompt needs"),
        ([{"prompt": "  "}], "row 1 of rows.jsonl has no 'prompt'"),
        ([{"id": "1", "prompt": "A?"}, {"id": "1", "prompt": "B?"}], "row 2 of rows.jsonl has the id '1' of another row"),
        ([], "is empty"),
        (["text"], "expected a JSON object"),
    ],
)
def test_wrong_prompts_are_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_prompts(_write(tmp_path, *rows))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "1", "prompt": "Name a prime.", "answer": "7"}], "answers 1 of 2 prompts; the first without an answer is '2'"),
        ([{"id": "1", "prompt": "Name an even prime.", "answer": "2"}], "answers another prompt than the one with its id '1'"),
        ([{"id": "1", "prompt": "Name a prime."}], "row 1 of rows.jsonl has no 'answer'"),
        ([{"id": "1", "answer": "7"}], "row 1 of rows.jsonl has no 'prompt'"),
        (
            [{"id": "1", "prompt": "Name a prime.", "answer": a} for a in "72"],
            "row 2 of rows.jsonl answers the prompt '1' once",
        ),
    ],
)
def test_wrong_answers_are_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_answers(_write(tmp_path, *rows), PROMPTS)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["a.jsonl"], "two sides or more"),
        (["missing.jsonl", "missing.jsonl"], "no file of answers 'missing.jsonl'"),
        (["nowhere", "nowhere"], "there is no model 'nowhere': name a folder, models:/name/version, or an endpoint"),
    ],
)
def test_sides_that_are_not_there_are_named(specs: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        open_sides(specs, Settings(home=tmp_path))


def test_one_side_twice_is_refused(tmp_path: Path) -> None:
    file = str(_write(tmp_path, {"prompt": "a", "answer": "b"}))
    with pytest.raises(InputError, match="'rows' stands on two sides"):
        open_sides([file, file], Settings(home=tmp_path))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "a": "x", "b": "y"},
        {"prompt": "p", "a": "x", "b": "y", "label": "first"},
        {"prompt": "p", "a": "x", "b": "y", "labels": []},
        {"prompt": "p", "a": "x", "label": "a"},
        {"instruction": "p", "response1": "x", "response2": "y", "annotator1": 1, "annotator2": 3, "annotator3": 1},
        {"input": "p", "output_1": "x", "output_2": None, "label": 1},
    ],
)
def test_calibration_rows_without_a_verdict_are_named(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"row 1 of rows.jsonl has .*a calibration row needs 'prompt', 'a', 'b'"):
        read_calibration(_write(tmp_path, row))


def test_people_who_split_evenly_have_no_majority(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "a": "x", "b": "y", "labels": labels} for labels in (["a", "b", "tie"], ["a", "b", "b"])]
    assert [item.label for item in read_calibration(_write(tmp_path, *rows))] == [None, "b"]


def test_a_calibration_set_that_is_not_there_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pandalm, llmbar-natural, llmbar-mt-bench"):
        calibration_file("pandalm", tmp_path)


@pytest.mark.skipif(not (SHARED / "data" / "llmbar").is_dir(), reason="the shared data isn't there; set LAPIDAR_SHARED")
def test_the_published_sets_are_read_as_they_are() -> None:
    found = {name: read_calibration(calibration_file(name, SHARED)) for name in ("pandalm", "llmbar-natural", "llmbar-mt-bench")}
    assert {name: len(items) for name, items in found.items()} == {"pandalm": 999, "llmbar-natural": 100, "llmbar-mt-bench": 200}
    first = found["pandalm"][0]
    assert (first.author_a, first.author_b, first.labels, first.label) == ("bloom-7b", "llama-7b", ("b", "b", "b"), "b")
    assert {item.label for item in found["llmbar-natural"]} == {"a", "b"}
    assert found["pandalm"][157].a == "True"
