"""Whole runs of the tiny recipe, each as a process of its own in a home of its own."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from components import local_services
from components.settings import Settings

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"


@dataclass(frozen=True)
class Home:
    """A home, and the runs in it; they start in an empty folder beside it."""

    path: Path

    def own_ports(self) -> None:
        """Gives its services ports of their own: while they are down, or not up yet, another home may take the usual ones."""
        services = Settings(home=self.path).services
        services.mkdir(parents=True)
        local_services.write(services / "ports.json", {name: local_services.free_port(0) for name in local_services.PORTS})

    def start(self, *arguments: str, code: str = "") -> subprocess.Popen[str]:
        """``lapidar run tiny.yaml --json`` with more arguments. ``code`` runs first, in the same process."""
        command = [sys.executable, "-c", f"{code}\nfrom flows.cli import main; main()"]
        return subprocess.Popen(
            [*command, "run", str(TINY), "--json", *arguments],
            cwd=self.beside,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=(self.beside / "stderr.txt").open("w"),
            text=True,
        )

    def run(self, *arguments: str, code: str = "", expected: int = 0) -> dict[str, Any]:
        """The report of a run that ends by itself."""
        process = self.start(*arguments, code=code)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == expected, self.said
        found: dict[str, Any] = json.loads(output)
        return found

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any command of ``lapidar``."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(command, cwd=self.beside, env=self.environment, capture_output=True, text=True, timeout=300)

    def command(self, *arguments: str) -> Any:
        """What a command that has to succeed prints: its document with ``--json``, else its text."""
        done = self.call(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    @property
    def beside(self) -> Path:
        """The folder that commands start in."""
        folder = self.path.with_name(f"{self.path.name}-cwd")
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def environment(self) -> dict[str, str]:
        """Variables that commands get, and no others."""
        known = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        mine = {"HOME": str(self.beside), "PYTHONPATH": str(ROOT), "LAPIDAR_HOME": str(self.path), "LAPIDAR_THREADS": "1"}
        return known | mine | {"OMP_NUM_THREADS": "1"}

    @property
    def recipe(self) -> str:
        """Path of the tiny recipe."""
        return str(TINY)

    @property
    def said(self) -> str:
        """Standard error of the last run."""
        return (self.beside / "stderr.txt").read_text()

    def processes(self) -> list[psutil.Process]:
        """Everything alive that belongs to this home."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("LAPIDAR_HOME") == str(self.path) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def left_behind(self, seconds: float = 20.0) -> list[psutil.Process]:
        """What is still alive some time after a run has ended."""
        limit = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < limit:
            time.sleep(0.1)
        return found

    def versions(self, name: str = "tiny") -> list[Any]:
        """Registered versions, newest first."""
        from components.registry import Registry

        return Registry(Settings(home=self.path)).list_versions(name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Home]:
    """Makes empty homes that live as long as they are needed."""
    return lambda name: Home(tmp_path_factory.mktemp(name) / "home")


@pytest.fixture
def in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], Callable[..., tuple[int, str, str]]]:
    """``in_process(home)`` runs commands of a home in this process: gives exit code, standard output and standard error."""
    from flows import cli

    def of(home: Path) -> Callable[..., tuple[int, str, str]]:
        monkeypatch.setenv("LAPIDAR_HOME", str(home))
        monkeypatch.chdir(tmp_path)

        def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["lapidar", *arguments])
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
            capsys.readouterr()
            code = cli._run("--json" in arguments)
            said = capsys.readouterr()
            return code, said.out, said.err

        return run

    return of


@pytest.fixture
def lapidar(in_process: Any, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """The same in an empty home."""
    run: Callable[..., tuple[int, str, str]] = in_process(tmp_path / "home")
    return run


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any]]:
    """What ``finished`` copies; nothing else may touch it."""
    home = Home(tmp_path_factory.mktemp("finished") / "home")
    return home, home.run()


@pytest.fixture
def finished(_finished: tuple[Home, dict[str, Any]], tmp_path: Path) -> tuple[Home, dict[str, Any]]:
    """A home of the test's own in which the recipe ran through, and the report of that run."""
    whole, report = _finished
    return Home(Path(shutil.copytree(whole.path, tmp_path / "finished"))), report


@pytest.fixture(scope="session")
def digests() -> Callable[[dict[str, Any]], dict[str, str]]:
    """Digest of each stage's output in a report."""
    return lambda report: {stage["name"]: stage["digest"] for stage in report["stages"]}
