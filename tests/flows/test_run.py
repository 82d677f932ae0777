"""The whole flow, end to end, on the tiny recipe."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from components import mlflow_client
from components.settings import Settings

pytestmark = pytest.mark.slow

STAGES = ["data", "base", "evaluate.base", "quantize", "sft", "evaluate.sft", "dpo", "evaluate.dpo", "grpo", "evaluate.grpo"]
STAGES += ["merge", "export", "evaluate.export", "verify", "register"]

Finished = tuple[Any, dict[str, Any]]
Digests = Callable[[dict[str, Any]], dict[str, str]]


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["status"] for stage in report["stages"]}


def test_the_report_has_what_is_promised(finished: Finished) -> None:
    home, report = finished
    assert [stage["name"] for stage in report["stages"]] == STAGES
    for stage in report["stages"]:
        assert stage.keys() >= {"name", "method", "key", "status", "seconds"}
        assert stage["status"] == "ran"
        assert stage["seconds"] >= 0
        assert stage["name"] == "data" or re.fullmatch("[0-9a-f]{64}", stage["key"])
    assert list(report["metrics"]) == ["base", "sft", "dpo", "grpo", "export"]
    for metrics in report["metrics"].values():
        assert {"accuracy", "accuracy@seen", "accuracy@unseen", "truncated", "unparsed"} <= metrics.keys()
        for estimate in metrics.values():
            assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
            assert estimate["n"] in (6, 12)
    assert report["version"]["name"] == "tiny"
    assert report["version"]["version"] == "1"
    assert re.fullmatch("[0-9a-f]{64}", report["version"]["digest"])
    assert report["version"]["aliases"] == ["candidate", "champion"]
    assert report["gate"]["verdict"] == "pass"
    assert all(reason["verdict"] == "pass" for reason in report["gate"]["reasons"])
    assert 0 < report["seconds"] < 300
    assert 200 < report["peak_rss_mb"] < 4096
    assert home.left_behind() == []


def test_each_run_in_mlflow_carries_what_it_was_made_with(finished: Finished) -> None:
    home, report = finished
    connection = mlflow_client.connect(Settings(home=home.path), None, "lapidar")
    runs = connection.client.search_runs([connection.experiment_id], f"tags.`lapidar.run_id` = '{report['run']}'")
    tags = {run.data.tags["lapidar.stage"]: run.data.tags for run in runs}
    assert set(tags) == {"pipeline", *STAGES}
    (parent,) = [run.info.run_id for run in runs if run.data.tags["lapidar.stage"] == "pipeline"]
    for stage, found in tags.items():
        assert found.get("mlflow.parentRunId") == (None if stage == "pipeline" else parent)
        assert found["lapidar.prefect.run"] == report["prefect_run"]
        assert found.keys() >= {"lapidar.code.revision", "lapidar.code.clean", "lapidar.lock"}
        assert stage == "data" or found["lapidar.data.md5"] == report["data"]["md5"]
    for step in report["stages"]:
        found = tags[step["name"]]
        assert [found[f"lapidar.stage.{part}"] for part in ("key", "method", "status")] == [step["key"], step["method"], "ran"]
    assert all(run.data.params and run.info.start_time <= run.info.end_time for run in runs)
    started = {run.data.tags["lapidar.stage"]: run.info.start_time for run in runs}
    assert sorted(STAGES, key=lambda name: started[name]) == STAGES


def test_prefect_shows_a_summary_of_each_stage_its_metrics_and_where_mlflow_has_them(finished: Finished) -> None:
    home, report = finished
    with closing(sqlite3.connect(home.path / "services" / "prefect" / "prefect.db")) as database:
        artifacts = set(database.execute("SELECT key, type FROM artifact").fetchall())
        tasks = {name for (name,) in database.execute("SELECT name FROM task_run WHERE state_name = 'Completed'").fetchall()}
    for step in report["stages"]:
        key = step["name"].replace(".", "-")
        assert {(f"{key}-summary", "markdown"), (f"{key}-mlflow", "markdown")} <= artifacts
        assert step["name"] == "register" or (f"{key}-metrics", "table") in artifacts
        assert step["name"] in ("data", "register") or (f"{key}-progress", "progress") in artifacts
        assert any(name.startswith(step["name"]) for name in tasks)
    assert {("tiny-summary", "markdown"), ("tiny-mlflow", "markdown")} <= artifacts


def test_until_verify_compares_and_registers_nothing_and_from_it_compares_again(home: Any) -> None:
    compared = home.run("--until", "verify")
    assert list(statuses(compared)) == STAGES[:-1]
    assert (compared["version"], compared["registers"]) == (None, False)
    assert home.versions() == []
    again = home.run("--from", "verify")
    assert [name for name, status in statuses(again).items() if status == "ran"] == ["verify", "register"]
    assert again["version"]["version"] == "1"
    assert "isn't reproducible" not in home.said


def test_every_copy_from_the_registry_was_compared(finished: Finished) -> None:
    home, report = finished
    key = next(stage["key"] for stage in report["stages"] if stage["name"] == "verify")
    from components.store import Store

    sealed = Store(home.path / "store").open("verify", "parity", key)
    assert sealed is not None
    assert {name for name, part in sealed.metrics.items() if isinstance(part, dict) and "identical_tokens" in part} == {
        "reload",
        "reload_merged",
        "reload_exported",
    }
    assert sealed.metrics["ok"] is True


def test_again_nothing_runs_and_nothing_is_registered_twice(finished: Finished, digests: Digests) -> None:
    home, report = finished
    again = home.run()
    assert set(statuses(again).values()) == {"cached"}
    assert digests(again) == digests(report)
    assert again["version"] == report["version"]
    assert again["gate"] == report["gate"]
    assert [version.version for version in home.versions()] == ["1"]
    assert home.left_behind() == []


def test_one_grpo_setting_runs_grpo_and_what_follows(finished: Finished, digests: Digests) -> None:
    home, report = finished
    changed = home.run("align.1.lr=2e-3", "register=null")
    ran = [name for name, status in statuses(changed).items() if status == "ran"]
    assert ran == ["grpo", "evaluate.grpo", "merge", "export", "evaluate.export"]
    assert digests(changed)["grpo"] != digests(report)["grpo"]
    assert changed["version"] is None


def test_from_a_stage_runs_it_again_with_the_same_output(finished: Finished, digests: Digests) -> None:
    home, report = finished
    again = home.run("--from", "dpo", "--until", "grpo")
    ran = [name for name, status in statuses(again).items() if status == "ran"]
    assert ran == ["dpo", "evaluate.dpo", "grpo"]
    assert digests(again)["grpo"] == digests(report)["grpo"]
    assert "isn't reproducible" not in home.said


def test_two_empty_homes_make_the_same_weights(finished: Finished, home: Any, digests: Digests) -> None:
    _, report = finished
    other = home.run()
    assert digests(other) == digests(report)
    assert other["version"]["digest"] == report["version"]["digest"]


def test_a_registered_version_is_the_base_of_another_run(finished: Finished) -> None:
    home, report = finished
    other = home.run("model.source=models:/tiny/1", "--until", "sft")
    assert statuses(other)["evaluate.base"] == "ran"
    assert other["metrics"]["base"] == report["metrics"]["grpo"]
    assert [version.version for version in home.versions()] == ["1"]


LOSES_WEIGHTS = """
import shutil, tempfile
from pathlib import Path
from safetensors.torch import load_file, save_file
from components.registry import Registry
whole = Registry.upload

def upload(self, name, folders, *others, **named):
    copy = Path(tempfile.mkdtemp()) / "adapter"
    shutil.copytree(folders["adapter"], copy)
    weights = load_file(copy / "adapter_model.safetensors")
    renamed = {f"base_model.model.{key}": value for key, value in weights.items()}
    save_file(renamed, copy / "adapter_model.safetensors", metadata={"format": "pt"})
    return whole(self, name, {**folders, "adapter": copy}, *others, **named)

Registry.upload = upload
"""


def test_a_registry_that_loses_weights_fails_the_run_and_makes_no_version(finished: Finished) -> None:
    """What MLflow's flavor does to an adapter over a local base: renamed keys, which load as freshly initialised weights."""
    home, _ = finished
    failed = home.run("register.name=other", code=LOSES_WEIGHTS, expected=1)
    assert "isn't shown to be the trained model" in home.said
    assert failed["error"]["type"] == "ParityError"
    assert home.versions("other") == []
    again = home.run("register.name=other")
    assert again["version"]["version"] == "1"
    assert [version.version for version in home.versions("other")] == ["1"]
    assert [stage["name"] for stage in again["stages"] if stage["status"] == "ran"] == ["verify", "register"]


NO_REPORT = """
from components.errors import InputError, LapidarError
from flows import report, tasks

def dataset(run):
    raise InputError("what went wrong first")

def build(run):
    raise LapidarError("what the report failed of")

tasks.dataset, report.build = dataset, build
"""


def test_what_went_wrong_first_is_heard_although_the_report_fails_too(home: Any) -> None:
    process = home.start(code=NO_REPORT)
    process.communicate(timeout=300)
    assert process.returncode == 2, home.said
    assert "lapidar: what went wrong first" in home.said
    assert "what the report failed of" not in home.said


@pytest.fixture
def small_home(home: Any) -> Iterator[Any]:
    """A home on a small disk of its own."""
    home.path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(home.path)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield home
    subprocess.run(["umount", "--lazy", str(home.path)], check=True)


def test_a_full_disk_ends_the_run_with_a_sentence_and_keeps_what_is_finished(small_home: Any) -> None:
    """There is room for Prefect's and MLflow's rows, and none for an adapter of some megabytes."""
    large = "sft.adapter.r=512"
    small_home.run(large, "--until", "base")
    with (small_home.path / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"\0" * 4096)
    os.truncate(small_home.path / "ballast", (small_home.path / "ballast").stat().st_size - (1 << 20))
    process = small_home.start(large, "--until", "sft")
    process.communicate(timeout=300)
    assert process.returncode == 2, small_home.said
    assert "is full" in small_home.said
    assert "Traceback" not in small_home.said
    (small_home.path / "ballast").unlink()
    report = small_home.run(large, "--until", "sft")
    assert statuses(report)["base"] == "cached"
    assert statuses(report)["sft"] == "ran"
