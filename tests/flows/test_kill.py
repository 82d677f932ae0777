"""``kill -9`` at several points: the next run ends with the weights of an uninterrupted one and exactly one version."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from components import events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # eight runs, one after another

Finished = tuple[Any, dict[str, Any]]
Digests = Callable[[dict[str, Any]], dict[str, str]]
Condition = Callable[[Path], bool]


def at_checkpoint(section: str, method: str) -> Condition:
    """A stage is at work and has a whole checkpoint to go on from."""

    def holds(home: Path) -> bool:
        for work in (home / "work" / section).glob("*"):
            if list((work / "checkpoints").glob("checkpoint-*/COMPLETE")) and _does(work, method):
                return True
        return False

    return holds


def _does(work: Path, method: str) -> bool:
    """Whether a work folder is that of a method: GRPO says its rewards, DPO its margins."""
    names = {event.get("name") for event in events.read(work / "events.jsonl")[0]}
    return {"grpo": "reward", "dpo": "rewards/margins"}.get(method, "loss") in names


def sealed(section: str) -> Condition:
    """A stage of a section has just ended, and the next one has not."""
    return lambda home: any((home / "store" / section).glob("*/manifest.json"))


def uploading(home: Path) -> bool:
    """The first weights are on their way into the registry."""
    return any((home / "services" / "artifacts" / "models").glob("*/artifacts/*"))


def reading_back(home: Path) -> bool:
    """The copy from the registry is on its way back."""
    return any((home / "work" / "reload").glob("*"))


def registering(home: Path) -> bool:
    """MLflow has the version; our database and its aliases may not."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{home}/services/mlflow.db?mode=ro", uri=True)) as database:
        return bool(database.execute("SELECT count(*) FROM model_versions").fetchone()[0])
    return False


def wait_for(process: Any, condition: Condition, home: Path, seconds: float = 200.0) -> None:
    limit = time.monotonic() + seconds
    while not condition(home):
        assert process.poll() is None, f"the run ended with {process.returncode} before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.002)


def kill_child(flow: Any, work: Path, condition: Condition, home: Path) -> None:
    """Kills the process that trains once the condition holds. It is looked for until then, since to look takes a while."""
    child: list[psutil.Process] = []

    def holds(home: Path) -> bool:
        if not any(process.is_running() for process in child):
            child[:] = writers(flow, work)
        return condition(home)

    wait_for(flow, holds, home)
    assert child, f"nobody trains in {work}"
    child[0].kill()


def writers(flow: Any, work: Path) -> list[psutil.Process]:
    """Processes of a run that have a file open in a work folder: their log."""
    found = []
    for process in psutil.Process(flow.pid).children(recursive=True):
        with suppress(psutil.Error):
            if any(Path(file.path).is_relative_to(work) for file in process.open_files()):
                found.append(process)
    return found


def steps(home: Path, section: str) -> list[list[int]]:
    """Progress of the sealed stages of a section, as they said it."""
    found = []
    for file in sorted((home / "store" / section).glob("*/log/events.jsonl")):
        found.append([event["done"] for event in events.read(file)[0] if event["kind"] == "progress"])
    return found


def test_a_killed_child_goes_on_within_the_run(finished: Finished, home: Any, digests: Digests) -> None:
    """Each training is killed once behind a checkpoint; the run takes note, starts it again and ends as if nothing had been."""
    _, report = finished
    flow = home.start()
    for section, method in (("model", "pretrain"), ("sft", "sft"), ("align", "grpo")):
        kill_child(flow, home.path / "work" / section, at_checkpoint(section, method), home.path)
    output, _ = flow.communicate(timeout=300)
    assert flow.returncode == 0, home.said
    ended = json.loads(output)
    assert digests(ended) == digests(report)
    assert [version.version for version in home.versions()] == ["1"]
    for section, total in (("model", 40), ("sft", 12)):
        (said,) = steps(home.path, section)
        assert said[-1] == total
        assert said.count(1) == 1, "it began anew instead of going on from its checkpoint"
    assert home.left_behind() == []


KILLS: list[tuple[str, Condition]] = [
    ("while the base trains", at_checkpoint("model", "pretrain")),
    ("between stages", sealed("quantize")),
    ("while SFT trains", at_checkpoint("sft", "sft")),
    ("while GRPO trains", at_checkpoint("align", "grpo")),
    ("during the upload", uploading),
    ("while the copy is read back", reading_back),
    ("during the registration", registering),
]


def test_a_killed_flow_leaves_nothing_behind_and_the_next_one_ends(finished: Finished, home: Any, digests: Digests) -> None:
    _, report = finished
    for when, condition in KILLS:
        flow = home.start()
        wait_for(flow, condition, home.path)
        flow.kill()
        flow.communicate()
        assert home.left_behind() == [], f"killed {when}, processes go on"
    ended = home.run()
    assert digests(ended) == digests(report)
    assert ended["version"]["digest"] == report["version"]["digest"]
    assert ended["version"]["aliases"] == ["candidate", "champion"]
    assert [version.version for version in home.versions()] == ["1"]
    for section, total in (("model", 40), ("sft", 12)):
        (said,) = steps(home.path, section)
        assert said.count(1) == 1, "it began anew instead of going on from its checkpoint"
        assert said[-1] == total
    assert list((home.path / "runs").glob("*/run.json")) == [_current(home.path, ended)]
    assert not (home.path / "work" / "reload").exists(), "what a kill left of the copy stays for good"
    assert home.left_behind() == []


def _current(home: Path, ended: dict[str, Any]) -> Path:
    return home / "runs" / str(ended["run"]) / "run.json"
