"""The built-in generator: right sums, kept-out pairs, and every setting changes something."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.data import prepare, records
from components.data.sources import wordproblems
from components.data.sources.wordproblems import Config
from components.errors import InputError
from components.settings import Settings

Make = Callable[..., Config]
SUM = re.compile(r"(\d+) ([+-]) (\d+) = (\d+)")
# Every way in which a fact says a sum, as (operands, sign): the generator's own wording read backwards.
FACTS = [
    (re.compile(r"^(\d+) [+] (\d+) = \d+\.$|^(\d+) plus (\d+) is"), "+", False),
    (re.compile(r"^The sum of (\d+) and (\d+) is"), "+", False),
    (re.compile(r"^If you add (\d+) to (\d+),|^(\d+) more than (\d+) is"), "+", True),
    (re.compile(r"^(\d+) [-] (\d+) = \d+\.$|^(\d+) minus (\d+) is|^The difference of (\d+) and (\d+) is"), "-", False),
    (re.compile(r"^If you take (\d+) from (\d+),|^(\d+) less than (\d+) is"), "-", True),
]


@pytest.fixture
def built(small: Make, tmp_path: Path, settings: Settings) -> Path:
    prepare.build(small(corpus=2500, preference=600, heldout=1500), tmp_path / "out", settings)
    return tmp_path / "out"


def split(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(records.read(folder / f"{name}.jsonl"))


def key(a: int, sign: str, b: int) -> tuple[int, str, int]:
    return (max(a, b), sign, min(a, b)) if sign == "+" else (a, sign, b)


def pairs_of(text: str) -> set[tuple[int, str, int]]:
    """All operand pairs that a training text holds, worked or stated as a fact."""
    found = {key(int(a), sign, int(b)) for a, sign, b, _ in SUM.findall(text)}
    for pattern, sign, turned in FACTS:
        if match := pattern.search(text):
            a, b = (int(g) for g in match.groups() if g is not None)
            found.add(key(*((b, sign, a) if turned else (a, sign, b))))
    return found


def test_right_answers_are_right_and_wrong_ones_are_wrong(built: Path) -> None:
    for row in split(built, "sft"):
        a, sign, b = row["operands"]
        result = a + b if sign == "+" else a - b
        assert row["completion"] == f"{a} {sign} {b} = {result}. The answer is {result}."
        assert {str(a), str(b)} <= set(re.findall(r"\d+", row["prompt"]))
    kinds = set()
    for row in split(built, "preference"):
        a, sign, b = row["operands"]
        right = re.fullmatch(r".* = (\d+)\. The answer is \1\.", row["chosen"])
        wrong = re.search(r"The answer is (\d+)\.", row["rejected"])
        assert right is not None
        assert wrong is None or wrong[1] != right[1]
        said = SUM.search(row["rejected"])
        assert said is not None
        same_sum = (int(said[1]), said[2], int(said[3])) == (a, sign, b)
        kinds.add("unfinished" if wrong is None else "ten" if same_sum else "operation" if said[2] != sign else "slip")
    assert kinds == {"unfinished", "ten", "operation", "slip"}


def test_unseen_pairs_stand_in_no_training_text_in_any_form(built: Path) -> None:
    unseen = {key(*row["operands"]) for row in split(built, "heldout") if row["group"] == "unseen"}
    seen = {key(*row["operands"]) for row in split(built, "heldout") if row["group"] == "seen"}
    trained = set()
    for name, fields in {"corpus": ["text"], "sft": ["completion"], "preference": ["chosen", "rejected"]}.items():
        for row in split(built, name):
            for field in fields:
                found = pairs_of(row[field])
                assert found, f"no sum found in {row[field]!r}: the test no longer reads the generator's wording"
                trained |= found
    trained |= {key(*row["operands"]) for row in split(built, "prompts")}
    assert unseen
    assert seen
    assert not unseen & trained
    assert seen <= trained


def test_held_out_texts_are_in_no_training_split_and_nothing_is_twice(built: Path) -> None:
    held = [row["prompt"].casefold() for row in split(built, "heldout")]
    assert len(set(held)) == len(held) == 3000
    for name, field in {"corpus": "text", "sft": "prompt", "preference": "prompt", "prompts": "prompt"}.items():
        texts = [row[field].casefold() for row in split(built, name)]
        assert len(set(texts)) == len(texts)
        assert not [text for text in texts if any(prompt in text for prompt in held)]
    splits = json.loads((built / "dataset.json").read_bytes())["splits"]
    assert all(entry["duplicates"] == entry["leaked"] == 0 for entry in splits.values())


def test_held_out_texts_are_new_even_where_few_texts_are_possible(
    small: Make, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wordproblems, "NAMES", ("Tom", "Mia"))
    monkeypatch.setattr(wordproblems, "OBJECTS", ("apples",))
    splits = prepare.build(small(max_number=9), tmp_path / "out", settings)["splits"]
    assert all(entry["duplicates"] == entry["leaked"] == 0 for entry in splits.values())


def test_two_builds_are_the_same_bytes(small: Make, tmp_path: Path, settings: Settings) -> None:
    for name in ("one", "two"):
        prepare.build(small(), tmp_path / name, settings)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    assert len(files) == 6


@pytest.mark.parametrize(
    ("setting", "value"),
    [("seed", 1), ("facts", 0.9), ("max_number", 20), ("unseen", 0.4)],
)
def test_every_setting_changes_the_data(small: Make, tmp_path: Path, settings: Settings, setting: str, value: float) -> None:
    prepare.build(small(), tmp_path / "one", settings)
    prepare.build(small(**{setting: value}), tmp_path / "two", settings)
    assert (tmp_path / "one" / "corpus.jsonl").read_bytes() != (tmp_path / "two" / "corpus.jsonl").read_bytes()
    corpus = [row["text"] for row in split(tmp_path / "two", "corpus")]
    if setting == "facts":
        assert sum("Question" not in text for text in corpus) == 270
    if setting == "max_number":
        assert max(int(n) for text in corpus for n in re.findall(r"\d+", text)) <= 20


def test_sizes_are_kept(small: Make, tmp_path: Path, settings: Settings) -> None:
    splits = prepare.build(small(), tmp_path / "out", settings)["splits"]
    assert {n: e["rows"] for n, e in splits.items()} == {
        "corpus": 300, "sft": 60, "preference": 60, "prompts": 40, "heldout": 40,
    }  # fmt: skip


def test_too_small_a_world_says_so(small: Make, tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match=r"max_number=5 gives too few different problems|lower facts or corpus"):
        prepare.build(small(max_number=5, corpus=20_000), tmp_path / "out", settings)
    with pytest.raises(
        InputError, match=r"data\.unseen=0\.99 holds out all \d+ sums or differences .* lower unseen or raise max_number"
    ):
        prepare.build(small(max_number=5, unseen=0.99), tmp_path / "out", settings)


def test_only_subtractions_are_terse_and_only_where_solutions_are_written(small: Make, tmp_path: Path, settings: Settings) -> None:
    prepare.build(small(sft=400, terse=0.7), tmp_path / "out", settings)
    terse, stated = 0, 0
    for row in split(tmp_path / "out", "sft"):
        second = row["operands"][1] == "-"
        ends = "The answer is" in row["completion"]
        assert ends or second
        terse, stated = terse + (second and not ends), stated + (second and ends)
    assert 0.6 < terse / (terse + stated) < 0.8
    assert all("The answer is" in row["chosen"] for row in split(tmp_path / "out", "preference"))
