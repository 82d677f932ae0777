import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from components import mlflow_client, tracking
from components.artifacts import DatasetRef, Split
from components.errors import LapidarError
from components.events import EventWriter, read
from components.mlflow_writer import Writer
from components.settings import Settings
from components.spool import Spool
from components.tracking import Tracker, drain_pending

RUN = "0123abcd"


def runs_of(settings: Settings, run_id: str = RUN, uri: str | None = None) -> dict[str, Any]:
    """MLflow's runs of one of ours by stage; fails if a stage has two."""
    connection = mlflow_client.connect(settings, uri, "lapidar")
    found = connection.client.search_runs([connection.experiment_id], f"tags.`lapidar.run_id` = '{run_id}'")
    stages = [run.data.tags["lapidar.stage"] for run in found]
    assert len(stages) == len(set(stages)), f"a run stands twice: {stages}"
    return dict(zip(stages, found, strict=True))


def history(settings: Settings, run: Any, name: str, uri: str | None = None) -> list[tuple[int, float]]:
    connection = mlflow_client.connect(settings, uri, "lapidar")
    return sorted((m.step, m.value) for m in connection.client.get_metric_history(run.info.run_id, name))


def track(tracker: Tracker, steps: int = 40) -> None:
    tracker.start("quickstart", params={"seed": 0, "sft": {"lr": 0.1}}, tags={"code.revision": "abc", "code.clean": True})
    tracker.start("sft", stage="sft", params={"lr": 0.1}, tags={"key": "k1"})
    for step in range(steps):
        tracker.metrics({"loss": 1.0 / (step + 1)}, "sft", step)
    tracker.end("sft", "ran", seconds=2.5)


def test_a_run_arrives_whole(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "somewhere.txt"
    file.write_text("content")
    tracker = Tracker(home, None, RUN)
    track(tracker)
    tracker.artifact("recipe.yaml", "name: quickstart\n")
    tracker.artifact("reports/summary.txt", file)
    tracker.report("sft", {"heldout": {"accuracy@seen": {"value": 0.5, "n": 10}}, "note": "no number"})
    tracker.end()
    assert tracker.close(30)
    runs = runs_of(home)
    assert set(runs) == {"pipeline", "sft"}
    parent, stage = runs["pipeline"], runs["sft"]
    assert parent.info.status == stage.info.status == "FINISHED"
    assert parent.data.params == {"seed": "0", "sft.lr": "0.1"}
    assert parent.data.tags["lapidar.code.revision"] == "abc"
    assert parent.data.tags["lapidar.code.clean"] == "true"
    assert stage.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert stage.data.tags["lapidar.status"] == "ran"
    assert stage.data.metrics["seconds"] == 2.5
    assert stage.data.metrics["heldout.accuracy_seen.value"] == 0.5
    assert history(home, stage, "loss") == [(s, 1.0 / (s + 1)) for s in range(40)]
    client = mlflow_client.connect(home, None, "lapidar").client
    assert Path(client.download_artifacts(parent.info.run_id, "recipe.yaml")).read_text() == "name: quickstart\n"
    assert Path(client.download_artifacts(parent.info.run_id, "reports/summary.txt")).read_text() == "content"
    assert str(home.services / "artifacts") in parent.info.artifact_uri


def test_a_new_database_is_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "services" / "mlflow.db"
    mlflow_client._switch_wal_on(path)
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_dataset_version_is_an_input_of_the_run(home: Settings, tmp_path: Path) -> None:
    split = Split("sft", "sft", 7, "00")
    md5 = "d41d8cd98f00b204e9800998ecf8427e.dir"
    tracker = Tracker(home, None, RUN)
    tracker.start("quickstart")
    for _ in range(2):
        tracker.dataset(DatasetRef(tmp_path / "data", md5, {"sft": split}, tmp_path, "f00d"))
    tracker.end()
    assert tracker.close(30)
    [given] = runs_of(home)["pipeline"].inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("data", md5)
    assert json.loads(given.dataset.source) == {
        "repository": str(tmp_path),
        "revision": "f00d",
        "path": str(tmp_path / "data"),
        "md5": md5,
    }
    assert json.loads(given.dataset.profile) == {"sft": 7}
    assert {t.key: t.value for t in given.tags}["lapidar.revision"] == "f00d"


def test_long_values_are_cut_and_kept_whole_as_artifacts(home: Settings) -> None:
    value = "ä" * 9000
    tracker = Tracker(home, None, RUN)
    tracker.start("quickstart", params={"prompt": value}, tags={"note": value})
    tracker.end()
    assert tracker.close(30)
    run = runs_of(home)["pipeline"]
    assert len(run.data.params["prompt"]) == 6000
    assert run.data.params["prompt"].endswith("(whole: params/prompt.txt)")
    assert len(run.data.tags["lapidar.note"]) == 6000
    client = mlflow_client.connect(home, None, "lapidar").client
    for name in ("params/prompt.txt", "tags/lapidar.note.txt"):
        assert Path(client.download_artifacts(run.info.run_id, name)).read_text(encoding="utf-8") == value


def test_many_metrics_and_params_arrive_in_batches(home: Settings) -> None:
    tracker = Tracker(home, None, RUN)
    tracker.start("quickstart", params={f"p{i}": i for i in range(250)})
    for step in range(300):
        tracker.metrics({f"m{i}": float(i) for i in range(9)}, None, step)
    tracker.end()
    assert tracker.close(60)
    run = runs_of(home)["pipeline"]
    assert len(run.data.params) == 250
    assert all(len(history(home, run, f"m{i}")) == 300 for i in range(9))


def test_events_said_twice_are_logged_once(home: Settings, tmp_path: Path) -> None:
    """A resumed stage says some steps again, and a parent may read the file from its beginning again."""
    writer = EventWriter(tmp_path / "events.jsonl")
    for step in [1, 2, 3, 2, 3, 4]:
        writer.metric("loss", 1.0 / step, step)
        writer.progress(step, 4)
        time.sleep(0.002)
    writer.metric("grad", float("nan"), 1)
    writer.close()
    events, _ = read(tmp_path / "events.jsonl")
    tracker = Tracker(home, None, RUN)
    tracker.start("quickstart")
    tracker.start("sft", stage="sft")
    tracker.log_stage_events("sft", events[:5])
    tracker.log_stage_events("sft", events)
    tracker.log_stage_events("sft", events)
    tracker.close(30)
    again = Tracker(home, None, RUN)
    again.log_stage_events("sft", events)
    again.end()
    assert again.close(30)
    run = runs_of(home)["sft"]
    assert history(home, run, "loss") == [(s, 1.0 / s) for s in [1, 2, 3, 4]]
    assert len(history(home, run, "grad")) == 1


def test_replaying_a_whole_spool_logs_nothing_twice(home: Settings) -> None:
    tracker = Tracker(home, None, RUN)
    track(tracker)
    tracker.artifact("recipe.yaml", "x")
    tracker.end()
    assert tracker.close(30)
    (home.runs / RUN / "tracking.state.json").unlink()
    assert drain_pending(home) == 1
    runs = runs_of(home)
    assert set(runs) == {"pipeline", "sft"}
    assert len(history(home, runs["sft"], "loss")) == 40
    assert not (home.runs / RUN / "tracking.rejected.jsonl").exists()
    assert drain_pending(home) == 0


KILLED = """
import os, signal, sys, time
from pathlib import Path
from components.settings import Settings
from components.spool import Spool
from components.tracking import Tracker
home, moment = Path(sys.argv[1]), int(sys.argv[2])
saves = 0
save = Spool.save_progress
def dying(self, progress):
    global saves
    saves += 1
    if saves == moment:
        os.kill(os.getpid(), signal.SIGKILL)   # MLflow has it, the offset isn't written
    save(self, progress)
Spool.save_progress = dying
tracker = Tracker(Settings(home=home), None, "dead")
tracker.start("quickstart")
tracker.start("sft", stage="sft")
for step in range(5):
    tracker.metrics({"loss": float(step)}, "sft", step)
    tracker.tags({"at": step}, "sft")
if moment == 0:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0, 1, 2, 3])
def test_a_killed_run_is_completed_once_and_closed_as_killed(home: Settings, moment: int) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED, str(home.root), str(moment)], timeout=90)
    assert child.returncode == -signal.SIGKILL
    spool = home.runs / "dead" / "tracking.jsonl"
    spool.write_bytes(spool.read_bytes() + b'{"op": "metr')  # a line torn by the kill
    tracker = Tracker(home, None, RUN)
    track(tracker)
    tracker.end()
    assert tracker.close(30)
    dead = runs_of(home, "dead")
    assert {stage: run.info.status for stage, run in dead.items()} == {"pipeline": "KILLED", "sft": "KILLED"}
    assert history(home, dead["sft"], "loss") == [(s, float(s)) for s in range(5)]
    assert runs_of(home)["pipeline"].info.status == "FINISHED"


def test_a_live_run_is_left_alone(home: Settings) -> None:
    tracker = Tracker(home, None, "alive")
    tracker.start("quickstart")
    assert tracker.mlflow_run_id() is not None
    assert drain_pending(home) == 0
    assert runs_of(home, "alive")["pipeline"].info.status == "RUNNING"
    with pytest.raises(LapidarError, match="alive is tracked by another process"):
        Tracker(home, None, "alive")
    tracker.end(status="failed")
    assert tracker.close(30)
    assert runs_of(home, "alive")["pipeline"].info.status == "FAILED"


def test_a_refused_record_takes_no_other_with_it(home: Settings, tmp_path: Path) -> None:
    tracker = Tracker(home, None, RUN)
    tracker.start("quickstart", params={"lr": 1, "seed": 0})
    assert tracker.mlflow_run_id() is not None
    deadline = time.monotonic() + 10
    while not runs_of(home)["pipeline"].data.params and time.monotonic() < deadline:
        time.sleep(0.1)
    tracker.params({"lr": 2, "beta": 3})  # MLflow refuses to change a param
    tracker.artifact("gone.txt", tmp_path / "gone.txt")
    tracker.metrics({"loss": 1.0})
    tracker.end()
    assert tracker.close(30)
    run = runs_of(home)["pipeline"]
    assert run.data.params == {"lr": "1", "seed": "0", "beta": "3"}
    assert run.data.metrics == {"loss": 1.0}
    rejected = [json.loads(line) for line in (home.runs / RUN / "tracking.rejected.jsonl").read_text().splitlines()]
    assert [r["op"] for r in rejected] == ["params", "artifact"]


def test_no_call_waits_for_a_tracker_that_is_down(tmp_path: Path) -> None:
    with socket.socket() as silent:  # accepts connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = Settings(home=tmp_path / "home", tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        tracker = Tracker(settings, None, RUN)
        track(tracker, steps=1000)
        tracker.end()
        assert time.monotonic() - started < 10
        assert tracker.close(0.5) is False
        assert time.monotonic() - started < 20
    assert len(list(Spool(settings.runs / RUN).operations())) == 1000 + 9


def test_a_spool_waits_for_the_tracker_that_it_was_begun_with(home: Settings) -> None:
    spool = Spool(home.runs / "elsewhere")
    spool.append(op="open", backend="http://elsewhere", experiment="lapidar")
    spool.append(op="start", stage="", name="x", time=1)
    spool.close()
    assert drain_pending(home) == 0
    assert runs_of(home, "elsewhere") == {}


def test_import_of_tracking_is_free_of_mlflow() -> None:
    code = "import sys, components.tracking, components.registry, components.gate; print('mlflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.slow
def test_a_server_that_stops_in_between_delays_and_nothing_is_twice(home: Settings, server: Any) -> None:
    server.start()
    tracker = Tracker(home, server.uri, RUN)
    tracker.start("quickstart", params={"seed": 0})
    tracker.start("sft", stage="sft")
    assert tracker.mlflow_run_id("sft", timeout=60) is not None
    for step in range(100):
        tracker.metrics({"loss": float(step)}, "sft", step)
    server.stop()
    for step in range(100, 200):
        tracker.metrics({"loss": float(step)}, "sft", step)
    tracker.metrics({"odd": float("inf"), "none": float("nan")}, "sft")
    tracker.artifact("recipe.yaml", "name: x\n")
    tracker.end("sft", "ran", seconds=1.0)
    time.sleep(2)
    server.start()
    tracker.end()
    assert tracker.close(60)
    runs = runs_of(home, uri=server.uri)
    assert {stage: run.info.status for stage, run in runs.items()} == {"pipeline": "FINISHED", "sft": "FINISHED"}
    assert history(home, runs["sft"], "loss", server.uri) == [(s, float(s)) for s in range(200)]
    assert set(runs["sft"].data.metrics) == {"loss", "odd", "none", "seconds"}
    server.stop()
    late = Tracker(home, server.uri, "late")  # ends while the server is down; the next run delivers, without a server
    late.start("quickstart")
    late.end()
    assert late.close(0.5) is False
    late._held.close()  # as the end of its process would
    assert drain_pending(home) >= 1
    assert runs_of(home, "late")["pipeline"].info.status == "FINISHED"


def test_writer_finds_the_run_that_a_killed_writer_created(home: Settings) -> None:
    spool = Spool(home.runs / RUN)
    spool.append(op="start", stage="", name="x", time=1)
    connection = mlflow_client.connect(home, None, "lapidar")
    first = Writer(spool)
    assert first.step(connection)
    (spool.folder / "tracking.state.json").unlink()
    second = Writer(spool)
    assert second.step(connection)
    assert second.progress.runs == first.progress.runs == {"": runs_of(home)["pipeline"].info.run_id}


def test_status_names_are_known() -> None:
    from typing import get_args

    from components.mlflow_writer import _STATUS

    assert set(get_args(tracking.Status)) == set(_STATUS)
