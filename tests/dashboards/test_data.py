"""Data with real versions: rows, figures, what changed, contamination; and the same rows below a comparison of runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from components.data import versions
from components.data.sources import wordproblems
from components.settings import Settings
from components.tracking import Tracker

from .conftest import words_of

Opener = Callable[..., AppTest]
SMALL = {"corpus": 60, "sft": 24, "preference": 12, "prompts": 12, "heldout": 12, "max_number": 20}


@dataclass(frozen=True)
class Versions:
    """A home with two versions of a private dataset (the second has other solutions), and a run on each."""

    home: Path
    first: str
    second: str


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("kept")
    settings = Settings(home=folder / "home", tracking_uri=None, store=None, database_url=None)
    settings.prepare()
    (folder / "project").mkdir()
    made = []
    for number, terse in enumerate((0.0, 1.0)):
        source = wordproblems.Config(**SMALL, terse=terse)  # type: ignore[arg-type]
        ref = versions.ensure(source, settings, folder / "project")
        made.append(ref.path.name)
        tracker = Tracker(settings, None, f"run-{number}")
        tracker.start("tiny", params={"seed": 0}, tags={"lock": "1" * 64})
        tracker.dataset(ref)
        tracker.end(status="finished", seconds=1.0)
        assert tracker.close(60)
    return Versions(settings.root, *made)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own data isn't part of this."""
    monkeypatch.chdir(tmp_path)


def lines(home: Path, version: str, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (home / "data" / version / f"{split}.jsonl").read_text().splitlines()]


def test_rows_are_shown_a_page_at_a_time(kept: Versions, open_page: Opener) -> None:
    page = open_page("data", kept.home, version=kept.first, split="sft", page="2")
    assert not page.exception
    rows, said = lines(kept.home, kept.first, "sft"), words_of(page)
    assert len(rows) == 24
    assert "page 2 of 3, 24 in all" in said
    shown = [row["id"] in said for row in rows]
    assert shown == [False] * 10 + [True] * 10 + [False] * 4
    assert rows[10]["completion"] in [each.value for each in page.text]


def test_figures_are_those_of_the_split(kept: Versions, open_page: Opener) -> None:
    page = open_page("data", kept.home, version=kept.first, section="figures", split="sft")
    assert not page.exception
    assert [(metric.label, metric.value) for metric in page.metric] == [("rows", "24"), ("rows that repeat another", "0")]
    table = page.dataframe[-1].value.set_index("field")
    counted = sorted(len(str(row["completion"]).split()) for row in lines(kept.home, kept.first, "sft"))
    assert table.loc["completion", ["least", "most"]].tolist() == [counted[0], counted[-1]]
    varied = (table["least"] < table["most"]).sum()  # where all are equally long a picture would say nothing
    assert len(page.get("vega_lite_chart")) == varied == 1


def test_what_changed_is_shown_row_by_row(kept: Versions, open_page: Opener) -> None:
    page = open_page("data", kept.home, version=kept.second, section="diff", **{"with": kept.first}, diff_split="sft")
    assert not page.exception
    before, after = ({row["id"]: row for row in lines(kept.home, name, "sft")} for name in (kept.first, kept.second))
    changed = [name for name in after if name in before and before[name] != after[name]]
    counts = page.dataframe[-1].value.set_index("Split").loc["sft"]
    assert counts["changed"] == str(len(changed))
    assert counts["added"] == str(len(after.keys() - before.keys()))
    texts = [each.value for each in page.text]
    row = changed[0]
    assert before[row]["completion"] in texts
    assert after[row]["completion"] in texts
    assert before[row]["prompt"] not in texts  # what is the same needs no room


def test_a_version_that_nobody_searched_is_not_called_clean(kept: Versions, open_page: Opener) -> None:
    page = open_page("data", kept.home, version=kept.first, section="contamination")
    assert not page.exception
    assert "No run looked for benchmarks" in words_of(page)


def test_a_version_whose_content_is_gone_is_told(kept: Versions, open_page: Opener, tmp_path: Path) -> None:
    home = shutil.copytree(kept.home, tmp_path / "home")
    shutil.rmtree(home / "data" / kept.first)
    shutil.rmtree(home / "data" / ".dvc" / "cache", ignore_errors=True)
    page = open_page("data", home, version=kept.first)
    assert not page.exception
    assert "isn't on this machine" in words_of(page)


def test_runs_on_other_data_are_compared_row_by_row(kept: Versions, open_page: Opener) -> None:
    closed = open_page("compare", kept.home, runs="run-0,run-1")
    assert not closed.exception
    assert not [each for each in closed.markdown if "-badge[~" in each.value]
    page = open_page("compare", kept.home, runs="run-0,run-1", rows="true", rows_split="sft")
    assert not page.exception
    assert [each for each in page.markdown if each.value.startswith(":orange-badge[~ changed]")]


def test_runs_on_the_same_data_have_no_rows_to_show(kept: Versions, open_page: Opener) -> None:
    page = open_page("compare", kept.home, runs="run-0,run-0")
    assert "Rows that differ" not in [each.label for each in page.toggle]
