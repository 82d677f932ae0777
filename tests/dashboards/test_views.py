"""Home, Runs, Compare and Run: with runs, with a broken one, with MLflow down, with wrong addresses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components.run_records import RunDetail
from components.spool import Spool
from dashboards.ui import reading

from .conftest import HOSTILE, Recorded, words_of

Opener = Callable[..., AppTest]
OWN = ["home", "runs", "compare", "run"]


def rows(page: AppTest, number: int = 0) -> list[dict[str, Any]]:
    return [] if not page.dataframe else json.loads(page.dataframe[number].value.to_json(orient="records"))


def test_home_tells_what_waits(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("home", recorded.home)
    assert not page.exception
    links = [link.label for link in page.get("page_link")]
    waiting = [link for link in links if "Run failed" in link]
    assert waiting == [f"Run failed: {run}".replace("-", r"\-") for run in (recorded.killed, recorded.failed)]


def test_runs_are_listed_newest_first_with_scores_and_verdicts(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("runs", recorded.home)
    assert not page.exception
    table = rows(page)
    assert [row["run"].partition("id=")[2] for row in table] == [recorded.killed, recorded.failed, recorded.second, recorded.first]
    assert [row["status"][2:] for row in table] == ["killed", "failed", "finished", "finished"]
    assert table[2]["sums.accuracy"] == "0.700 [0.610, 0.790]"
    assert [row["gate"] for row in table] == ["–", "? unknown", "? unknown", "? unknown"]


def test_runs_are_filtered_by_scores_and_settings(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("runs", recorded.home, q="metrics.`sums.accuracy.value` > 0.5 and params.`sft.lr` = '0.003'")
    assert [row["run"].partition("id=")[2] for row in rows(page)] == [recorded.second]


@pytest.mark.parametrize("query", ["metrics.x >", "metrics.`x` = 'a'", "loss > 3 and", "tags.a = b = c"])
def test_a_filter_that_cannot_be_read_is_explained(query: str, recorded: Recorded, open_page: Opener) -> None:
    page = open_page("runs", recorded.home, q=query)
    assert not page.exception
    assert "This filter can't be read" in words_of(page)
    assert "metrics.`gsm8k.accuracy.value` > 0.5" in words_of(page)


def test_filters_are_kept_and_taken_away(recorded: Recorded, open_page: Opener, tmp_path: Path) -> None:
    home = shutil.copytree(recorded.home, tmp_path / "home")
    page = open_page("runs", home, q="tiny")
    [name] = [each for each in page.text_input if each.label == "Keep the filter as"]
    name.set_value("mine")
    [keep] = [each for each in page.button if each.label == "Keep"]
    keep.click()
    page.run()
    other = open_page("runs", home)
    other.button(key="take-mine").click()
    other.run()
    assert other.text_input(key="q").value == "tiny"
    other.button(key="drop-mine").click()
    other.run()
    assert not [each for each in other.button if each.key == "take-mine"]


def test_another_of_the_latest_runs_can_be_compared(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("compare", recorded.home, runs=f"{recorded.first},{recorded.second}")
    [chooser] = [each for each in page.multiselect if each.label == "Runs"]
    assert (chooser.value, chooser.disabled) == ([recorded.first, recorded.second], False)
    assert set(chooser.options) == {recorded.first, recorded.second, recorded.failed, recorded.killed}
    chooser.set_value([recorded.second, recorded.failed]).run()
    assert page.query_params["runs"] in (choice := f"{recorded.second},{recorded.failed}", [choice])
    assert {link.label.partition(" ")[0] for link in page.get("page_link")} >= {"A", "B"}
    assert f"B {recorded.failed.rpartition('-')[2]}" in " ".join(link.label for link in page.get("page_link"))


def test_curves_are_kept_until_a_run_ends_anew(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = shutil.copytree(recorded.home, tmp_path / "home")
    monkeypatch.setenv("LAPIDAR_HOME", str(home))
    monkeypatch.delenv("LAPIDAR_TRACKING_URI", raising=False)

    def steps(found: RunDetail) -> int:
        [curve] = reading.curves([found], [("sft", "loss")])
        return len(curve.steps)

    [found] = reading.details([recorded.first])
    assert steps(found) == 20
    Spool(home / "runs" / recorded.first).append(op="metrics", stage="sft", items=[["loss", 0.1, 20, 1_800_000_000_000]])
    assert steps(found) == 20
    assert steps(replace(found, whole=replace(found.whole, ended=found.whole.ended + 1))) == 21
    assert steps(replace(found, row=replace(found.row, status="running"))) == 21


def test_compare_says_which_is_better_and_what_differs(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("compare", recorded.home, runs=f"{recorded.first},{recorded.second}")
    assert not page.exception
    said = words_of(page)
    assert ":green-badge[▲ better] **sums accuracy**" in said
    assert "30 won, 0 lost" in said
    tables = [rows(page, number) for number in range(len(page.dataframe))]
    assert [{"setting": "sft.lr", "A 1": "0.001", "B 2": "0.003"}] in tables
    assert [{"package": "torch", "A 1": "2.1", "B 2": "2.2"}] in tables


def test_compare_names_what_only_one_run_was_evaluated_on(recorded: Recorded, open_page: Opener, tmp_path: Path) -> None:
    home = shutil.copytree(recorded.home, tmp_path / "home")
    for run, name in ((recorded.first, "products"), (recorded.second, "powers[x](y)")):
        [file] = home.rglob(f"e{run[-1]}0*/items.jsonl")
        file.chmod(0o644)
        extra = json.dumps({"benchmark": name, "id": "0", "prompt": "?", "scores": {"accuracy": 1.0}})
        file.write_text(f"{file.read_text().rstrip()}\n{extra}\n")
    said = words_of(open_page("compare", home, runs=f"{recorded.first},{recorded.second}"))
    assert ":green-badge[▲ better] **sums accuracy**" in said
    assert "Not compared, for only A 1 was evaluated on it: products" in said
    assert r"Not compared, for only B 2 was evaluated on it: powers\[x\]\(y\)" in said


def test_compare_of_a_run_that_was_never_evaluated_says_so(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("compare", recorded.home, runs=f"{recorded.first},{recorded.failed}")
    assert not page.exception
    assert "No evaluation in common" in words_of(page)


def test_run_shows_scores_answers_and_marked_rows(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("run", recorded.home, id=recorded.first)
    assert not page.exception
    assert [(metric.label, metric.value) for metric in page.metric] == [(r"sums\.accuracy", "0.400")]
    assert f"said 40 {HOSTILE}"[:5] in words_of(page)
    batch = open_page("run", recorded.home, id=recorded.first, part="batch")
    assert r"\<s\>2\+2?:green-background[ 4\<\/s\>]" in words_of(batch)


def test_a_failed_run_says_why_and_what_to_do(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("run", recorded.home, id=recorded.failed, part="log")
    assert not page.exception
    assert "the loss isn't finite; lower sft.lr" in words_of(page)
    assert "lapidar run tiny" in words_of(page)


def test_a_killed_run_is_not_shown_as_running(recorded: Recorded, open_page: Opener) -> None:
    page = open_page("run", recorded.home, id=recorded.killed)
    assert not page.exception
    assert ":orange-badge" in page.markdown[0].value
    assert "running" not in page.markdown[0].value


@pytest.mark.parametrize("view", OWN)
def test_runs_of_the_home_are_shown_while_mlflow_is_down(
    view: str, recorded: Recorded, open_page: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAPIDAR_TRACKING_URI", "http://127.0.0.1:9")
    page = open_page(view, recorded.home, id=recorded.first, runs=f"{recorded.first},{recorded.second}")
    assert not page.exception
    if view == "home":
        assert "MLflow doesn't answer" in words_of(page)
    if view == "runs":
        assert "Only runs of this machine are shown" in words_of(page)
        assert len(rows(page)) == 4
    if view == "compare":
        assert "30 won, 0 lost" in words_of(page)
    if view == "run":
        assert [metric.value for metric in page.metric] == ["0.400"]


def test_mlflow_that_is_down_is_not_told_as_a_filter_that_nothing_matches(
    recorded: Recorded, open_page: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAPIDAR_TRACKING_URI", "http://127.0.0.1:9")
    page = open_page("runs", tmp_path / "nothing", q="tiny")
    assert "MLflow doesn't answer, and this machine has no such runs" in words_of(page)
    assert "lapidar up" in words_of(page)
    assert "No run matches" not in words_of(page)
    page = open_page("runs", recorded.home, q="metrics.`sums.accuracy.value` > 0.5")
    assert len(rows(page)) == 4
    assert "conditions can't be checked" in page.warning[0].value.replace("\\", "")


@pytest.mark.parametrize("run", ["nobody", "../../etc", "a'b", "", "x" * 400])
def test_a_run_that_is_not_there_is_told_as_that(run: str, recorded: Recorded, open_page: Opener) -> None:
    page = open_page("run", recorded.home, id=run)
    assert not page.exception
    assert ("This run can't be read" in words_of(page)) is bool(run)


def test_damaged_files_of_a_run_break_no_page(recorded: Recorded, open_page: Opener, tmp_path: Path) -> None:
    home = shutil.copytree(recorded.home, tmp_path / "home")
    for name in ("report.json", "recipe.json"):
        (home / "runs" / recorded.first / name).write_text('{"torn": ')
    with (home / "runs" / recorded.first / "tracking.jsonl").open("a") as spool:
        spool.write('{"op": "metrics", "stage": "sft", "items": [["lo')
    for part in ("answers", "batch", "gate", "recipe", "files", "log"):
        page = open_page("run", home, id=recorded.first, part=part)
        assert not page.exception
        assert "This can't be shown" not in words_of(page)


@pytest.mark.parametrize("part", ["answers", "gate", "log"])
def test_text_of_models_is_never_markdown(part: str, recorded: Recorded, open_page: Opener) -> None:
    page = open_page("run", recorded.home, id=recorded.first, part=part)
    shown = "\n".join(element.value for element in page.markdown)
    assert "![x](" not in shown
    assert "<img" not in shown.replace(r"\<img", "")
