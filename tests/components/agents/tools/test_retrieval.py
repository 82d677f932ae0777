"""Rows are found by their words, ranked as BM25 ranks, and come with the place where they stand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from components.agents.tools.retrieval import Config, run, words
from components.data import versions
from components.data.sources import files
from components.errors import InputError
from components.settings import Settings

ROWS = [
    {"prompt": "What grows on trees?", "completion": "Apples grow on trees."},
    {"prompt": "What do cows give?", "completion": "Milk. Cows give milk, and milk is white."},
    {
        "prompt": "Where is the milk?",
        "completion": "In the fridge, beside apples and a long list of other things to eat and drink.",
    },
    {"prompt": "Who is Tom?", "completion": "A boy."},
]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's data version made from the rows."""
    folder = tmp_path_factory.mktemp("retrieval")
    (folder / "project" / ".dvc").mkdir(parents=True)
    (folder / "project" / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "held.jsonl").write_text(json.dumps({"prompt": "Secret milk?", "answer": "Yes."}) + "\n")
    split = {"path": str(folder / "rows.jsonl")}
    source = files.Config.model_validate({"path": "data", "files": {"sft": split, "heldout": {"path": str(folder / "held.jsonl")}}})
    settings = Settings(home=folder / "home")
    settings.prepare()
    return versions.build(source, settings, folder / "project").ref.path


def found(version: Path, query: str, **settings: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(Config(data=version, **settings), query, 5))
    return answer


def test_rows_come_with_their_provenance(version: Path) -> None:
    answer = found(version, "Who gives MILK?")
    assert answer["source"]["md5"] in version.with_name("data.dvc").read_text()
    assert answer["source"]["path"] == "data"
    lines = (version / "sft.jsonl").read_text().splitlines()
    assert answer["rows"]
    for row in answer["rows"]:
        assert row["split"] == "sft"
        assert json.loads(lines[row["row"] - 1])["prompt"] in row["text"]


def test_scores_are_those_of_the_formula(version: Path) -> None:
    texts = [words(row["prompt"] + "\n" + row["completion"]) for row in ROWS]
    mean, k1, b = sum(map(len, texts)) / len(texts), 1.2, 0.75
    holding = sum("milk" in text for text in texts)
    idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
    expected = sorted(
        (idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(text) / mean)) for text in texts if (f := text.count("milk"))),
        reverse=True,
    )
    assert [row["score"] for row in found(version, "milk")["rows"]] == [round(score, 4) for score in expected]
    assert "Cows" in found(version, "milk")["rows"][0]["text"]


def test_held_out_rows_are_not_searched_unless_named(version: Path) -> None:
    assert "Secret" not in json.dumps(found(version, "secret milk"))
    assert "Secret" in json.dumps(found(version, "secret milk", among=["heldout"]))


def test_nothing_is_found_where_nothing_is(version: Path) -> None:
    assert found(version, "zebra")["rows"] == []
    assert len(found(version, "milk", characters=50)["rows"][1]["text"]) == 51
    with pytest.raises(ValueError, match="limit=21"):
        run(Config(data=version), "milk", 21)


def test_a_folder_that_isnt_the_version_it_says_is_refused(version: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.dvc beside it"):
        run(Config(data=tmp_path / "data"), "milk")
    (tmp_path / "data").mkdir()
    for file in version.iterdir():
        (tmp_path / "data" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "data.dvc").write_bytes(version.with_name("data.dvc").read_bytes())
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "data" / "sft.jsonl").write_text('{"prompt": "planted", "completion": "planted"}\n')
    with pytest.raises(InputError, match="has md5"):
        run(Config(data=tmp_path / "data"), "planted")
