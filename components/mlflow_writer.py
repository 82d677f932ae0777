"""Writes a spool's operations to MLflow in batches, so that writing any of them again changes nothing.

A run is looked up by our own id before it is made; metrics carry the time of the event, which makes equal ones equal
for MLflow; the rest overwrites itself. So the offset may be saved after the write, and a kill in between costs nothing.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from components.mlflow_client import Connection, refused
from components.spool import Spool

logger = logging.getLogger(__name__)
METRICS_PER_BATCH = 1000  # MLflow's limits
ENTRIES_PER_BATCH = 100
LONGEST_VALUE = 6000
PARENT = "pipeline"
_STATUS = {"ran": "FINISHED", "cached": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


@dataclass
class _Batch:
    """What waits to be written to one run. Later params and tags of a name replace earlier ones."""

    metrics: list[Any] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Writer:
    """Drains one spool. The caller holds the spool's lease."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.progress = spool.progress()
        self._ended = False

    def step(self, connection: Connection) -> bool:
        """Writes the next operations, a few megabytes at most; False if there are none.

        Raises:
            Exception: the tracker's, if it doesn't answer. Nothing is lost: the next call goes on from there.

        """
        operations = self.spool.read(self.progress.offset)
        batches: dict[str, _Batch] = {}
        for operation, offset in operations:
            stage = operation.get("stage", "")
            if operation["op"] in ("metrics", "params", "tags"):
                self._gather(connection, batches.setdefault(stage, _Batch()), operation)
                if not any(len(batch.metrics) >= METRICS_PER_BATCH for batch in batches.values()):
                    continue
            self._flush(connection, batches)
            if operation["op"] not in ("metrics", "params", "tags"):
                self._guarded(operation, partial(self._single, connection, operation))
            self._save(offset)
        if operations:
            self._flush(connection, batches)
            self._save(operations[-1][1])
        return bool(operations)

    def finish(self) -> None:
        """Notes that the run has ended and everything is written."""
        if self._ended and not self.progress.done:
            self.progress.done = True
            self.spool.save_progress(self.progress)

    def _save(self, offset: int) -> None:
        self.progress.offset = offset
        self.progress.done = False
        self.spool.save_progress(self.progress)

    def _gather(self, connection: Connection, batch: _Batch, operation: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        if operation["op"] == "metrics":
            batch.metrics += [Metric(_key(name), value, at, step) for name, value, step, at in operation["items"]]
            return
        target = batch.params if operation["op"] == "params" else batch.tags
        for name, value in operation["items"].items():
            key = _key(name)
            target[key] = value
            if len(value) > LONGEST_VALUE:
                where = f"{operation['op']}/{key}.txt"
                note = f"… (whole: {where})"
                target[key] = value[: LONGEST_VALUE - len(note)] + note
                self._guarded(operation, partial(self._text, connection, operation["stage"], where, value))

    def _flush(self, connection: Connection, batches: dict[str, _Batch]) -> None:
        from mlflow.entities import Param, RunTag

        for stage, batch in batches.items():
            run = self._run(connection, stage)
            params = [Param(k, v) for k, v in batch.params.items()]
            tags = [RunTag(k, v) for k, v in batch.tags.items()]
            for start in range(0, len(batch.metrics), METRICS_PER_BATCH):
                self._batch(connection, run, metrics=batch.metrics[start : start + METRICS_PER_BATCH])
            for start in range(0, len(params), ENTRIES_PER_BATCH):
                self._batch(connection, run, params=params[start : start + ENTRIES_PER_BATCH])
            for start in range(0, len(tags), ENTRIES_PER_BATCH):
                self._batch(connection, run, tags=tags[start : start + ENTRIES_PER_BATCH])
        batches.clear()

    def _batch(self, connection: Connection, run: str, **entries: list[Any]) -> None:
        """Writes a batch; one that MLflow refuses is halved until only the bad entries are left out."""
        try:
            connection.client.log_batch(run, **entries)
        except Exception as error:
            if not refused(error):
                raise
            [(kind, values)] = entries.items()
            if len(values) == 1:
                self._reject({"op": kind, "run": run, "entry": dict(values[0])}, error)
                return
            self._batch(connection, run, **{kind: values[: len(values) // 2]})
            self._batch(connection, run, **{kind: values[len(values) // 2 :]})

    def _single(self, connection: Connection, operation: Mapping[str, Any]) -> None:
        client, stage = connection.client, operation.get("stage", "")
        if operation["op"] == "start":
            self._run(connection, stage, operation)
        elif operation["op"] == "end":
            self._end(connection, operation)
        elif operation["op"] == "dataset":
            self._dataset(connection, operation)
        elif operation["op"] == "artifact" and "text" in operation:
            self._text(connection, stage, operation["name"], operation["text"])
        elif operation["op"] == "artifact":
            self._upload(client, self._run(connection, stage), operation["name"], Path(operation["path"]))
        elif operation["op"] == "unreadable":
            raise ValueError("a line of the spool isn't JSON")

    def _run(self, connection: Connection, stage: str, start: Mapping[str, Any] | None = None) -> str:
        """MLflow's id of a run, which is made if it isn't there."""
        if stage in self.progress.runs:
            return self.progress.runs[stage]
        tags = {"lapidar.run_id": self.spool.run_id, "lapidar.stage": stage or PARENT}
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = connection.client.search_runs([connection.experiment_id], query, max_results=1)
        if found:
            self.progress.runs[stage] = found[0].info.run_id
            return str(found[0].info.run_id)
        if stage:
            tags["mlflow.parentRunId"] = self._run(connection, "")
        given = start or {"name": stage or self.spool.run_id, "time": None}
        run = connection.client.create_run(connection.experiment_id, given["time"], tags, given["name"])
        self.progress.runs[stage] = run.info.run_id
        return str(run.info.run_id)

    def _end(self, connection: Connection, operation: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, RunTag

        run = self._run(connection, operation["stage"])
        tags = [RunTag("lapidar.status", operation["status"])]
        seconds = operation.get("seconds")
        metrics = [Metric("seconds", float(seconds), operation["time"], 0)] if seconds is not None else []
        connection.client.log_batch(run, metrics=metrics, tags=tags)
        connection.client.set_terminated(run, _STATUS[operation["status"]], operation["time"])
        self._ended = self._ended or operation["stage"] == ""

    def _dataset(self, connection: Connection, operation: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source, profile = json.dumps(operation["source"]), json.dumps(operation["profile"])
        dataset = Dataset(operation["name"], operation["digest"], "dvc", source, profile=profile)
        # MLflow keeps one source for each (name, digest) of an experiment; the tags say where this run read it
        tags = [InputTag(f"lapidar.{k}", str(v)[:500]) for k, v in operation["source"].items()]
        tags.append(InputTag("mlflow.data.context", "training"))
        run = self._run(connection, operation["stage"])
        connection.client.log_inputs(run, [DatasetInput(dataset, tags)])

    def _text(self, connection: Connection, stage: str, name: str, text: str) -> None:
        connection.client.log_text(self._run(connection, stage), text, name)

    def _upload(self, client: Any, run: str, name: str, path: Path) -> None:
        if path.is_dir():
            client.log_artifacts(run, str(path), name)
            return
        with tempfile.TemporaryDirectory() as scratch:  # MLflow names an artifact after its file
            copy = Path(scratch, Path(name).name)
            shutil.copyfile(path, copy)
            folder = Path(name).parent.as_posix()
            client.log_artifact(run, str(copy), None if folder == "." else folder)

    def _guarded(self, operation: Mapping[str, Any], action: Callable[[], None]) -> None:
        """Sets an operation aside that can't succeed; other failures are the tracker's and are raised."""
        try:
            action()
        except (FileNotFoundError, ValueError) as error:
            self._reject(operation, error)
        except Exception as error:
            if not refused(error):
                raise
            self._reject(operation, error)

    def _reject(self, operation: Mapping[str, Any], error: Exception) -> None:
        logger.warning("MLflow refuses a record of run %s: %s", self.spool.run_id, str(error).splitlines()[0][:300])
        self.spool.reject(operation, error)


def _key(name: str) -> str:
    """A name that MLflow takes: letters, digits, ``_ - . : /`` and spaces, 250 characters at most."""
    return re.sub(r"[^\w.\-:/ ]", "_", name)[:250]
