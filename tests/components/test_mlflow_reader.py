"""The history of runs: pages, filters, curves, what the home knows that MLflow doesn't, and time limits."""

from __future__ import annotations

import math
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Metric

from components import mlflow_client, mlflow_reader, run_files
from components.errors import InputError, LapidarError
from components.mlflow_reader import History
from components.run_records import Record, curve, detail, estimates, smoothed, thinned
from components.settings import Settings
from components.tracking import Tracker

from .conftest import Server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Seven runs that MLflow has."""
    settings = Settings(home=tmp_path_factory.mktemp("history") / "home", tracking_uri=None, store=None, database_url=None)
    for number in range(7):
        tracker = Tracker(settings, None, f"run-{number}")
        tracker.start("odd" if number % 2 else "even", params={"lr": number})
        tracker.start("sft", stage="sft")
        events = [{"kind": "metric", "name": "loss", "value": 1 / (1 + s), "step": s, "time": 100.0 + s} for s in range(5)]
        tracker.log_stage_events("sft", events)
        tracker.report(None, {"sums": {"accuracy": {"value": number / 10, "low": 0.0, "high": 1.0, "n": 10}}})
        tracker.end(seconds=float(number))
        assert tracker.close(60)
    return settings


@pytest.fixture
def elsewhere(home: Settings, tmp_path: Path) -> Settings:
    """Another home that sees the same tracker and none of the folders."""
    return Settings(home=tmp_path / "other", tracking_uri=f"sqlite:///{home.services / 'mlflow.db'}")


def ids(rows: object) -> list[str]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


def test_pages_follow_each_other_in_any_order(elsewhere: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_reader, "PAGE_ROWS", 3)
    history = History(elsewhere)
    last = history.runs(page=3)  # walked to from the first
    assert (ids(last.rows), last.more) == (["run-0"], False)
    assert [ids(history.runs(page=n).rows) for n in (1, 2)] == [["run-6", "run-5", "run-4"], ["run-3", "run-2", "run-1"]]
    assert history.runs(page=99).number == 3
    assert ids(history.runs(order="oldest").rows) == ["run-0", "run-1", "run-2"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("odd", ["run-5", "run-3", "run-1"]),
        ("ODD'", ["run-5", "run-3", "run-1"]),
        ("metrics.`sums.accuracy.value` > 0.45", ["run-6", "run-5"]),
        ("params.lr = '2' and attributes.status = 'FINISHED'", ["run-2"]),
        ("tags.`lapidar.stage` = 'sft'", []),
    ],
)
def test_filters_find_whole_runs(query: str, found: list[str], elsewhere: Settings) -> None:
    assert ids(History(elsewhere).runs(query).rows) == found


@pytest.mark.parametrize("query", ["metrics.x >", "lr = ", "metrics.x = 'a'", "params.a LIKE", "foo.bar = '1'"])
def test_a_wrong_filter_is_answered_with_how_it_is_written(query: str, elsewhere: Settings) -> None:
    with pytest.raises(InputError, match=r"gsm8k\.accuracy\.value"):
        History(elsewhere).runs(query)


def test_a_run_says_the_same_from_the_home_and_from_mlflow(home: Settings, elsewhere: Settings) -> None:
    near, far = History(home).run("run-3"), History(elsewhere).run("run-3")
    assert near.row == far.row
    assert near.row.scores == {"sums.accuracy": {"value": 0.3, "low": 0.0, "high": 1.0, "n": 10.0}}
    assert [s.stage for s in near.stages] == [s.stage for s in far.stages] == ["sft"]
    [one], [other] = (
        History(home).curves([near], [("sft", "loss"), ("sft", "kl")]),
        History(elsewhere).curves([far], [("sft", "loss")]),
    )
    assert (one.steps, one.values) == (other.steps, other.values) == ([0, 1, 2, 3, 4], [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


def test_what_was_asked_ahead_is_not_asked_again_and_is_used_once(elsewhere: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    really = mlflow_reader._stages
    monkeypatch.setattr(mlflow_reader, "_stages", lambda connection, run: asked.append(run) or really(connection, run))
    history = History(elsewhere)
    history.ahead(["run-1"])
    assert asked == []  # nobody has connected yet
    history.runs()
    history.ahead(["run-1", "nobody"])
    history.ahead(["run-1"])
    assert [found.row.id for found in history.details(["run-2", "run-1"])] == ["run-2", "run-1"]
    assert sorted(asked) == ["nobody", "run-1", "run-2"]
    assert [stage.stage for stage in history.run("run-1").stages] == ["sft"]
    assert sorted(asked) == ["nobody", "run-1", "run-1", "run-2"]
    with pytest.raises(InputError, match="there is no run"):
        history.run("nobody")
    monkeypatch.setattr(mlflow_reader, "_AHEAD_SECONDS", -1.0)
    history.ahead(["run-3"])
    history.run("run-3")
    assert asked.count("run-3") == 2


def test_runs_that_mlflow_has_not_heard_of_are_listed(home: Settings, tmp_path: Path) -> None:
    new = Settings(home=tmp_path / "new", tracking_uri=None, database_url=None)
    assert ids(History(new).runs().rows) == []
    assert not (new.services / "mlflow.db").exists()  # looking makes nothing
    tracker = Tracker(new, "http://127.0.0.1:9", "run-9")
    tracker.start("fresh")
    [row] = History(new).runs().rows
    assert (row.id, row.status) == ("run-9", "running")
    tracker.close(0.1)


def test_a_run_whose_process_died_is_killed_not_running(home: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "dead" / "runs" / "run-x"
    folder.mkdir(parents=True)
    (folder / "tracking.jsonl").write_text(
        '{"op": "start", "stage": "", "time": 1, "name": "x"}\n{"op": "start", "stage": "sft", "time": 2, "name": "sft"}\n'
    )
    (folder / "tracking.lease").touch()
    found = run_files.read(Settings(home=tmp_path / "dead"), "run-x")
    assert found is not None
    assert [found.row.status, *(stage.status for stage in found.stages)] == ["killed", "killed"]


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [server.accept() for _ in range(50)], daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_tracker_that_hangs_is_given_up_in_time(silent: str, home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "6")
    history = History(Settings(home=home.root, tracking_uri=silent), seconds=1.0)
    began = time.monotonic()
    page = history.runs()
    assert time.monotonic() - began < 5.5
    assert "didn't answer within 1 s" in str(page.note)
    assert len(page.rows) == 7
    with pytest.raises(LapidarError, match="didn't answer within 1 s"):
        history.run("nobody")


@pytest.mark.parametrize("run", ["..", "a/b", "a' or 'b", "", "x" * 300])
def test_a_name_that_is_no_run_finds_none(run: str, home: Settings, elsewhere: Settings) -> None:
    for settings in (home, elsewhere):
        with pytest.raises(InputError, match="there is no run"):
            History(settings).run(run)


def test_estimates_are_told_from_plain_numbers() -> None:
    metrics = {"a.b.value": 0.5, "a.b.low": 0.4, "a.b.high": 0.6, "a.b.n": 9.0, "loss": 1.0, "size.value": 3.0}
    assert estimates(metrics) == {"a.b": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9.0}}


def test_the_last_value_of_a_step_counts_and_time_runs_from_the_beginning() -> None:
    found = curve("r", "sft", "loss", [(2, 0.1, 4000), (1, 0.9, 2000), (1, 0.5, 3000)], 1000)
    assert (found.steps, found.values, found.times) == ([1, 2], [0.5, 0.1], [2.0, 3.0])


def test_smoothing_keeps_a_constant_and_its_first_value() -> None:
    assert smoothed([3.0] * 5, 0.9) == pytest.approx([3.0] * 5)
    assert smoothed([1.0, 0.0], 0.0) == [1.0, 0.0]
    averaged = smoothed([0.0, 1.0, math.nan, 1.0], 0.5)
    assert averaged[1] == pytest.approx(2 / 3)
    assert math.isnan(averaged[2])
    assert averaged[3] == pytest.approx(6 / 7)


def test_scores_of_a_run_without_a_headline_are_those_of_its_last_evaluation() -> None:
    metrics = {"sums.accuracy.value": 0.2, "sums.accuracy.low": 0.1, "sums.accuracy.high": 0.3}
    found = detail(
        "r",
        [Record("", "r", "finished"), Record("evaluate.base", "e", began=1), Record("evaluate.sft", "e", began=2, metrics=metrics)],
    )
    assert list(found.row.scores) == ["sums.accuracy"]


@pytest.mark.parametrize("most", [6, 7, 50, 199])
def test_a_thinned_curve_keeps_its_ends_and_extremes(most: int) -> None:
    values = [math.sin(place) for place in range(200)]
    values[17], values[101], values[150] = 40.0, -40.0, math.nan
    found = thinned(curve("r", "sft", "loss", [(3 * place, value, place) for place, value in enumerate(values)], 0), most)
    assert len(found.steps) <= most
    assert {0, 3 * 199, 3 * 17, 3 * 101} <= set(found.steps)
    assert [values[step // 3] for step in found.steps] == pytest.approx(list(found.values), nan_ok=True)
    whole = curve("r", "sft", "loss", [(place, 1.0, place) for place in range(most)], 0)
    assert thinned(whole, most) == whole


@pytest.mark.slow
def test_a_server_gives_the_curves_that_the_file_has(home: Settings, tmp_path: Path) -> None:
    connection = mlflow_client.connect(home, None, "lapidar")
    client, runs = connection.client, []
    for length in (0, 3, 2499, 2500, 2600):
        runs.append(client.create_run(connection.experiment_id).info.run_id)
        draw = random.Random(length)
        values = [math.nan, math.inf, *(draw.random() for _ in range(length))][:length]
        metrics = [Metric("loss", value, 1_700_000_000_000 + 10 * step, 2 * step) for step, value in enumerate(values)]
        for start in range(0, length, 1000):
            client.log_batch(runs[-1], metrics[start : start + 1000])
    server = Server(home)
    server.start()
    try:
        served = mlflow_client.connect(Settings(home=tmp_path / "other", tracking_uri=server.uri), None, "lapidar")
        ours, theirs = connection.histories(runs, "loss"), served.histories(runs, "loss")
    finally:
        server.stop()
    assert [len(ours[run]) for run in runs] == [0, 3, 2499, 2500, 2600]
    for run in runs:
        assert [str(point) for point in sorted(theirs[run])] == [str(point) for point in sorted(ours[run])]
