"""Connects to MLflow: which server, which experiment, which errors pass by themselves.

The import takes three seconds, so it happens when a connection is made.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from components.errors import LapidarError
from components.settings import Settings

Result = TypeVar("Result")
_HISTORIES = "/api/2.0/mlflow/metrics/get-history-bulk-interval"
_MOST_OF_SEVERAL = 2500  # points a run; MLflow gives no more in that answer, and of more than these every n-th
_ADDRESSES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
]
_REFUSED = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}


@dataclass(frozen=True)
class Connection:
    """A client and the experiment that all runs and models belong to.

    Attributes:
        client: ``mlflow.MlflowClient``.
        address: its tracking and registry URI.

    """

    client: Any
    address: str
    experiment_id: str

    def download(self, location: str, path: str, target: Path) -> Path:
        """Copies one artifact file or folder below ``location`` to ``target/<path>``, as plain files."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        target.mkdir(parents=True, exist_ok=True)
        return Path(get_artifact_repository(location, tracking_uri=self.address).download_artifacts(path, str(target)))

    def histories(self, runs: Sequence[str], metric: str) -> dict[str, list[tuple[int, float, int]]]:
        """Every point (step, value, milliseconds since 1970) of one metric, by run; one question for all where a server answers."""
        if not self.address.startswith("http"):
            return {run: self._history(run, metric) for run in runs}
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        asked = {"run_ids": list(runs), "metric_key": metric, "max_results": _MOST_OF_SEVERAL}
        response = http_request(get_default_host_creds(self.address), _HISTORIES, "GET", params=asked)
        found: dict[str, list[tuple[int, float, int]]] = {run: [] for run in runs}
        for point in verify_rest_response(response, _HISTORIES).json().get("metrics", []):
            found[point["run_id"]].append((int(point.get("step", 0)), float(point["value"]), int(point["timestamp"])))
        # as many as were asked for may be only some of them
        return {run: self._history(run, metric) if len(p) >= _MOST_OF_SEVERAL else p for run, p in found.items()}

    def _history(self, run: str, metric: str) -> list[tuple[int, float, int]]:
        return [(point.step, point.value, point.timestamp) for point in self.client.get_metric_history(run, metric)]

    def upload_text(self, model_id: str, path: str, text: str) -> None:
        """Writes a text file among the artifacts of a LoggedModel."""
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, path.rpartition("/")[2])
            file.write_bytes(text.encode())
            self.client.log_model_artifact(model_id, str(file), path.rpartition("/")[0] or None)


def backend(settings: Settings) -> str:
    """Name of the database behind the tracker: the configured URI, or ``local`` with and without local services."""
    return settings.tracking_uri or "local"


def prepare_environment() -> None:
    """Settings that MLflow takes from the environment only; call before its import.

    No retries inside MLflow: it repeats requests blindly, and a repeated ``create_run`` would make two runs.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_ALLOW_MODEL_CODE_EXECUTION"] = "false"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"


def load() -> None:
    """Imports MLflow and its stores, which takes seconds: whoever limits the time of a question does this before."""
    prepare_environment()
    from mlflow.store.tracking import rest_store, sqlalchemy_store  # noqa: F401


def connect(settings: Settings, uri: str | None, experiment: str) -> Connection:
    """A connection to ``settings.tracking_uri``, else ``uri`` (the local services), else SQLite in the home.

    Raises:
        mlflow.exceptions.MlflowException: if the tracker doesn't answer.

    """
    load()
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints the stack of what it raises as well
    address = settings.tracking_uri or uri or f"sqlite:///{settings.services / 'mlflow.db'}"
    settings.services.mkdir(parents=True, exist_ok=True)
    artifacts = None if settings.tracking_uri else (settings.services / "artifacts").as_uri()
    with (settings.services / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that both make MLflow's tables would fail
        if address.startswith("sqlite:///"):
            _switch_wal_on(Path(address.removeprefix("sqlite:///")))
            follow_home(settings)
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        found = client.get_experiment_by_name(experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        experiment_id = found.experiment_id if found else _create_experiment(client, experiment, artifacts)
    return Connection(client, address, experiment_id)


def follow_home(settings: Settings) -> None:
    """Sets the addresses in the home's own database to where the home is now, if it was moved or copied: they are whole ones.

    Call before anybody else opens the database.

    Raises:
        LapidarError: if the file is no database.
    """
    file, artifacts = settings.services / "mlflow.db", (settings.services / "artifacts").as_uri()
    if not file.exists():
        return
    with closing(sqlite3.connect(file)) as database, database:
        try:
            made = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'model_versions'").fetchone()
        except sqlite3.DatabaseError as error:
            raise LapidarError(
                f"{file} can't be read ({error}); put a copy of it back, or start anew with another LAPIDAR_HOME"
            ) from error
        query = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE 'file:///%/services/artifacts'"
        for (before,) in database.execute(query).fetchall() if made else []:
            if before == artifacts:
                continue
            for table, column in _ADDRESSES:
                moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"  # noqa: S608
                database.execute(moved, (artifacts, len(before) + 1, len(before), before))


def refused(error: Exception) -> bool:
    """Whether asking again would get the same answer."""
    code = getattr(error, "error_code", None)
    # MLflow says BAD_REQUEST for any error of its database; of these a lost race passes, a value out of range doesn't
    return code in _REFUSED or (code == "BAD_REQUEST" and "IntegrityError" not in str(error))


def missing(error: Exception) -> bool:
    """Whether the error says that a thing doesn't exist."""
    code = getattr(error, "error_code", None)
    return code == "RESOURCE_DOES_NOT_EXIST" or (code == "INVALID_PARAMETER_VALUE" and "not found" in str(error))


def patiently(action: Callable[[], Result], address: str, seconds: float = 60.0) -> Result:
    """Repeats an idempotent action while the tracker doesn't answer.

    Raises:
        LapidarError: if it still doesn't after ``seconds``.

    """
    end, pause = time.monotonic() + seconds, 0.25
    while True:
        try:
            return action()
        except LapidarError:
            raise
        except Exception as error:
            if refused(error) or not _from_mlflow(error):
                raise
            if time.monotonic() + pause > end:
                raise LapidarError(
                    f"MLflow at {address} doesn't answer ({str(error).splitlines()[0][:200]}); "
                    "start it again ('lapidar up') and run again, finished stages are kept"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _from_mlflow(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in {"mlflow", "requests", "urllib3"}


def _create_experiment(client: Any, name: str, artifacts: str | None) -> str:
    try:
        return str(client.create_experiment(name, artifact_location=artifacts))
    except Exception:
        found = client.get_experiment_by_name(name)  # another machine may have created it just now
        if found is None:
            raise
        return str(found.experiment_id)


def _switch_wal_on(path: Path) -> None:
    """Readers and one writer don't block each other in this mode; it stays with the file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
