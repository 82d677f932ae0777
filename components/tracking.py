"""Durable, idempotent experiment tracking: a spool on disk that a background thread drains to MLflow.

No call here waits for MLflow. A tracker that is down delays; what one run couldn't deliver, the next one does.
``stage=None`` means the parent run::

    tracker = Tracker(settings, uri, run_id)
    tracker.start("quickstart", params=recipe, tags={"code.revision": revision})
    tracker.start("sft", stage="sft", params=config, tags={"key": key})
    tracker.log_stage_events("sft", events)
    tracker.end("sft", status="ran", seconds=12.3)
    tracker.end()
    tracker.close()
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from components import mlflow_client
from components.artifacts import DatasetRef
from components.errors import LapidarError
from components.mlflow_writer import Writer
from components.settings import Settings
from components.spool import Spool, flatten

logger = logging.getLogger(__name__)
Status = Literal["ran", "cached", "finished", "failed", "killed"]
_GATHER_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 15.0


class Tracker:
    """One pipeline run's side of tracking. Holds a lease that ends with the process, so a killed run is known as such.

    Args:
        uri: address of the local services' MLflow, or None; ``settings.tracking_uri`` goes before it.
        run_id: our own id of the run; a run that goes on under the same id repeats nothing.

    Raises:
        LapidarError: if a living process tracks the same run.

    """

    def __init__(self, settings: Settings, uri: str | None, run_id: str, experiment: str = "lapidar") -> None:
        mlflow_client.prepare_environment()
        self._settings, self._uri, self._experiment = settings, uri, experiment
        self._spool = Spool(settings.runs / run_id)
        self._held = ExitStack()
        if not self._held.enter_context(self._spool.lease()):
            raise LapidarError(f"run {run_id} is tracked by another process; wait for it or use another run id")
        self._seen: set[tuple[str, str, int]] = set()
        self._open: dict[str, None] = {}
        for operation in self._spool.operations():
            self._replay(operation)
        self._wake, self._closing = threading.Event(), threading.Event()
        self._failing, self._progressed = False, time.monotonic()
        self.experiment_id: str | None = None  # MLflow's, once connected
        self._writer = Writer(self._spool)
        if not self._spool.path.exists():
            self._spool.append(op="open", backend=mlflow_client.backend(settings), experiment=experiment)
        self._thread = threading.Thread(target=self._drain, name="lapidar-tracking", daemon=True)
        self._thread.start()

    def start(
        self,
        name: str,
        stage: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Begins the parent run or a nested stage run. ``params`` may be nested; they are flattened to dotted names."""
        self._add("start", stage, name=name)
        if params:
            self.params(params, stage)
        if tags:
            self.tags(tags, stage)

    def params(self, params: Mapping[str, Any], stage: str | None = None) -> None:
        """Settings. Values over 6000 characters are cut, and kept whole as an artifact ``params/<name>.txt``."""
        self._add("params", stage, items={k: _text(v) for k, v in flatten(dict(params)).items()})

    def tags(self, tags: Mapping[str, Any], stage: str | None = None) -> None:
        """Facts about the run; names get the prefix ``lapidar.`` unless they are MLflow's own."""
        named = {k if k.startswith("mlflow.") else f"lapidar.{k}": _text(v) for k, v in tags.items()}
        self._add("tags", stage, items=named)

    def metrics(self, metrics: Mapping[str, float], stage: str | None = None, step: int = 0) -> None:
        """Numbers at a step; each (name, step) counts once."""
        self._metrics(stage, [(name, float(value), step, time.time()) for name, value in metrics.items()])

    def report(self, stage: str | None, metrics: Mapping[str, Any]) -> None:
        """All numbers of a nested report (``metrics.json``) by dotted name."""
        numbers = {k: v for k, v in flatten(dict(metrics)).items() if isinstance(v, (int, float))}
        self.metrics(numbers, stage)

    def log_stage_events(self, stage: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Forwards the metrics among a stage's events. A resumed stage says some steps twice: the first one counts."""
        found = [e for e in events if e["kind"] == "metric"]
        self._metrics(stage, [(e["name"], float(e["value"]), int(e["step"]), float(e["time"])) for e in found])

    def dataset(self, dataset: DatasetRef, stage: str | None = None) -> None:
        """Records a dataset version as MLflow input: repository, revision, path, md5 and rows; no copy of the data."""
        source = {"repository": str(dataset.repository), "revision": dataset.revision}
        source |= {"path": str(dataset.path), "md5": dataset.md5}
        profile = {name: split.rows for name, split in dataset.splits.items()}
        self._add("dataset", stage, name=dataset.path.name, digest=dataset.md5, source=source, profile=profile)

    def artifact(self, name: str, content: str | Path, stage: str | None = None) -> None:
        """A text, or a file or folder that stays where it is until it is uploaded."""
        given = {"text": content} if isinstance(content, str) else {"path": str(content.absolute())}
        self._add("artifact", stage, name=name, **given)

    def end(self, stage: str | None = None, status: Status = "finished", seconds: float | None = None) -> None:
        """Ends a run. Ending the parent ends the stages that are still open, with the same status."""
        for name in [] if stage is not None else [n for n in self._open if n]:
            self.end(name, status)
        self._add("end", stage, status=status, seconds=seconds)

    def mlflow_run_id(self, stage: str | None = None, timeout: float = 30.0) -> str | None:
        """MLflow's id of a run that has been started; None if the tracker hasn't got it within ``timeout`` seconds."""
        limit = time.monotonic() + timeout
        while (found := self._writer.progress.runs.get(stage or "")) is None and time.monotonic() < limit:
            time.sleep(0.02)
        return found

    def close(self, timeout: float = 5.0) -> bool:
        """A last, short drain; what is left is drained by the next run.

        Waits ``timeout`` seconds for a tracker that fails, four times as long without progress for one that is slow.

        Returns:
            Whether MLflow has everything.

        """
        self._progressed = time.monotonic()
        self._closing.set()
        self._wake.set()
        while self._thread.is_alive():
            patience = timeout if self._failing else 4 * timeout
            if time.monotonic() - self._progressed > patience:
                logger.warning("MLflow lacks records of run %s; the next run delivers them", self._spool.run_id)
                return False
            self._thread.join(0.02)
        self._spool.close()
        self._held.close()
        return not self._failing

    def _add(self, op: str, stage: str | None, **content: Any) -> None:
        operation = dict(op=op, stage=stage or "", time=int(time.time() * 1000), **content)
        self._replay(operation)
        self._spool.append(**operation)
        self._wake.set()

    def _metrics(self, stage: str | None, points: list[tuple[str, float, int, float]]) -> None:
        items = []
        for name, value, step, at in points:
            if (key := (stage or "", name, step)) not in self._seen:
                self._seen.add(key)
                items.append([name, value, step, int(at * 1000)])
        if items:
            self._add("metrics", stage, items=items)

    def _replay(self, operation: Mapping[str, Any]) -> None:
        """What a run that goes on must know of what it said before."""
        stage = operation.get("stage", "")
        if operation["op"] == "metrics":
            self._seen.update((stage, name, step) for name, _, step, _ in operation["items"])
        elif operation["op"] == "start":
            self._open[stage] = None
        elif operation["op"] == "end":
            self._open.pop(stage, None)

    def _drain(self) -> None:
        """Body of the thread: delivers until everything is delivered and the tracker is closed."""
        connection, pending, pause = None, True, _GATHER_SECONDS
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            try:
                if connection is None:
                    connection = mlflow_client.connect(self._settings, self._uri, self._experiment)
                    self.experiment_id = connection.experiment_id
                while self._writer.step(connection):
                    self._progressed = time.monotonic()
                self._writer.finish()
                if pending:
                    drain_pending(self._settings, self._uri)
                self._failing, pending, pause = False, False, _GATHER_SECONDS
                if closing:
                    return
            except Exception as error:
                logger.log(logging.DEBUG if self._failing else logging.INFO, "MLflow is delayed: %s", error)
                self._failing, pause = True, min(2 * pause, _LONGEST_PAUSE_SECONDS)
                self._wake.set()
            if not self._closing.wait(pause):
                continue
            if self._failing:
                time.sleep(_GATHER_SECONDS)


def drain_pending(settings: Settings, uri: str | None = None) -> int:
    """Delivers what earlier runs left behind, and closes runs whose process is dead as KILLED.

    Returns:
        How many runs were completed.

    """
    completed = 0
    for path in sorted(settings.runs.glob("*/tracking.jsonl")):
        spool = Spool(path.parent)
        if spool.progress().done:
            continue
        with spool.lease() as dead:
            if dead:
                completed += _complete(settings, uri, spool)
    return completed


def _complete(settings: Settings, uri: str | None, spool: Spool) -> bool:
    opened, alive = {"experiment": "lapidar"}, dict[str, None]()
    for operation in spool.operations():
        if operation["op"] == "open":
            opened = operation
        elif operation["op"] == "start":
            alive[operation["stage"]] = None
        elif operation["op"] == "end":
            alive.pop(operation["stage"], None)
    if opened.get("backend") != mlflow_client.backend(settings):
        return False  # half of it may stand in the other tracker: it waits until that one is set again
    for stage in sorted(alive, reverse=True):
        spool.append(op="end", stage=stage, time=int(time.time() * 1000), status="killed", seconds=None)
    spool.close()
    writer = Writer(spool)
    connection = mlflow_client.connect(settings, uri, opened["experiment"])
    while writer.step(connection):
        pass
    writer.finish()
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
