"""From a source to a dataset version: planted duplicates and leaks are dropped and counted, empty splits refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.data import prepare, records
from components.data.sources.files import Config
from components.errors import InputError
from components.settings import Settings

HELD = "Nina counts 12 shells, and then 7 more. How many shells does Nina count in all?"


def source(folder: Path, splits: dict[str, list[dict[str, Any]]]) -> Config:
    folder.mkdir(exist_ok=True)
    for name, rows in splits.items():
        records.write(folder / f"{name}.jsonl", rows)
    return Config.model_validate({"files": {name: {"path": str(folder / f"{name}.jsonl")} for name in splits}})


def test_planted_leaks_and_duplicates_are_dropped_and_counted(tmp_path: Path, settings: Settings) -> None:
    config = source(
        tmp_path / "in",
        {
            "corpus": [{"text": "A story."}, {"text": f"Question: {HELD.lower()}\nAnswer: 19."}, {"text": "a  STORY."}],
            "sft": [{"prompt": HELD.upper(), "completion": "19"}, {"prompt": "What is 1 + 1?", "completion": "2"}],
            "prompts": [{"prompt": "What is 1 + 1?", "answer": "2"}, {"prompt": f"  {HELD}", "answer": "19"}],
            "heldout": [{"prompt": HELD, "answer": "19"}, {"prompt": HELD + " ", "answer": "19"}],
        },
    )
    splits = prepare.build(config, tmp_path / "out", settings)["splits"]
    counts = {name: (e["rows"], e["duplicates"], e["leaked"]) for name, e in splits.items()}
    assert counts == {"corpus": (1, 1, 1), "sft": (1, 0, 1), "prompts": (1, 0, 1), "heldout": (1, 1, 0)}
    assert [row["text"] for row in records.read(tmp_path / "out" / "corpus.jsonl")] == ["A story."]
    prepare.validate(tmp_path / "out")


def test_a_split_that_is_all_leak_is_refused(tmp_path: Path, settings: Settings) -> None:
    rows = [{"prompt": HELD, "answer": "19"}]
    config = source(tmp_path / "in", {"prompts": rows, "heldout": rows})
    with pytest.raises(InputError, match="split prompts has no row left: 1 read, 0 duplicates, 1 that hold a held-out item"):
        prepare.build(config, tmp_path / "out", settings)


def test_rows_get_ids_that_stay_and_own_ids_are_kept(tmp_path: Path, settings: Settings) -> None:
    rows = [{"prompt": "a?", "completion": "1"}, {"prompt": "A?", "completion": "2"}, {"id": 7, "prompt": "b?", "completion": "3"}]
    config = source(tmp_path / "in", {"sft": rows}).model_copy(update={"heldout_share": 0.0})
    prepare.build(config, tmp_path / "out", settings)
    first, second, third = (row["id"] for row in records.read(tmp_path / "out" / "sft.jsonl"))
    assert (second, third) == (f"{first}-2", "7")


def test_length_baseline_is_the_share_of_longer_and_shorter_chosen(tmp_path: Path, settings: Settings) -> None:
    pairs = [("long", "a"), ("long", "b"), ("a", "long"), ("x", "y")]
    rows = [{"prompt": f"{n}?", "chosen": c, "rejected": r} for n, (c, r) in enumerate(pairs)]
    config = source(tmp_path / "in", {"preference": rows}).model_copy(update={"heldout_share": 0.0})
    described = prepare.build(config, tmp_path / "out", settings)
    assert described["splits"]["preference"]["length_baseline"] == {"longer": 0.5, "shorter": 0.25}


def test_description_names_no_time_and_no_folder_of_the_output(tmp_path: Path, settings: Settings) -> None:
    config = source(tmp_path / "in", {"corpus": [{"text": "a"}]}).model_copy(update={"heldout_share": 0.0})
    prepare.build(config, tmp_path / "somewhere" / "out", settings)
    text = (tmp_path / "somewhere" / "out" / "dataset.json").read_text()
    assert "somewhere" not in text
    assert json.loads(text)["source"].keys() == {"method", "files", "heldout_share"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.write_bytes(f.read_bytes().replace(b'"completion"', b'"kompletion"', 1)), "has no 'completion'"),
        (lambda f: f.write_bytes(f.read_bytes() + f.read_bytes()), "repeats row 1"),
        (lambda f: f.write_bytes(f.read_bytes().replace(b"2.0", b"2.5", 1)), "isn't what dataset.json describes"),
        (
            lambda f: f.write_bytes(f.read_bytes() + json.dumps({"prompt": HELD, "completion": "x"}).encode() + b"\n"),
            "row 2 of sft.jsonl holds a held-out item",
        ),
    ],
)
def test_validate_finds_what_was_done_to_a_version(tmp_path: Path, settings: Settings, change: Any, said: str) -> None:
    config = source(tmp_path / "in", {"sft": [{"prompt": "q?", "completion": "2.0"}], "heldout": [{"prompt": HELD, "answer": "1"}]})
    prepare.build(config, tmp_path / "out", settings)
    prepare.validate(tmp_path / "out")
    change(tmp_path / "out" / "sft.jsonl")
    with pytest.raises(InputError, match=said):
        prepare.validate(tmp_path / "out")
