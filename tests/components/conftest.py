"""A home whose MLflow database has its tables already: making them takes seconds, copying them none."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components import mlflow_client
from components.settings import Settings
from tests.listening import held_port

if TYPE_CHECKING:
    from components.registry import Registry


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mlflow_client.prepare_environment()
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}", registry_uri=f"sqlite:///{path}").search_experiments()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


@pytest.fixture
def home(tmp_path: Path, mlflow_tables: Path) -> Settings:
    settings = Settings(home=tmp_path / "home")
    settings.services.mkdir(parents=True)
    shutil.copyfile(mlflow_tables, settings.services / "mlflow.db")
    return settings


@pytest.fixture
def registry(home: Settings) -> "Registry":
    from components.registry import Registry

    return Registry(home)


class Server:
    """A real ``mlflow server`` on loopback that can be stopped and started again."""

    def __init__(self, home: Settings) -> None:
        self._held = held_port()
        self.port = self._held.getsockname()[1]
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.home.services / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.home.services / "artifacts")]
        log = (self.home.services / "mlflow.log").open("ab")
        lean = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else seven more processes
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=lean)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self.home.services / "mlflow.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(home: Settings) -> Iterator[Server]:
    server = Server(home)
    yield server
    server.stop()
