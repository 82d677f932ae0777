"""Runs a recorded recipe again from nothing: its revision in a git worktree, its dataset version, a home of its own.

Nothing that the original made is read but its dataset version and fetched base models, whose content its record names.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import registry
from components.data.workspace import Workspace
from components.errors import InputError, LapidarError
from components.models.resolve import kind
from components.reviews.snapshot import path_of
from components.settings import Settings
from flows import provenance

Evidence = Mapping[str, Any]
_OURS = ("LAPIDAR_STORE", "LAPIDAR_TRACKING_URI", "LAPIDAR_DATABASE_URL", "LAPIDAR_THREADS")
_DONE = (0, 3)  # done, and done without the gate's blessing


class RerunFailed(LapidarError):
    """A rerun that ended without a version."""


@dataclass(frozen=True)
class Place:
    """Where a rerun happens.

    Attributes:
        lock: descriptor of a lock that the rerun inherits: while it lives, nobody takes the folder away.
    """

    root: Path
    lock: int

    @property
    def code(self) -> Path:
        """Worktree of the revision."""
        return self.root / "code"

    @property
    def home(self) -> Path:
        """The rerun's ``LAPIDAR_HOME``."""
        return self.root / "home"


@contextmanager
def place(settings: Settings, keep: bool = False) -> Iterator[Place]:
    """An empty place below the home; taken away at the end unless ``keep``. What killed reruns left is taken away first."""
    settings.prepare()
    above = settings.root / "reproduce"
    above.mkdir(exist_ok=True)
    for left in above.iterdir():
        with suppress(BlockingIOError), _held(left):
            if not (left / "keep").exists():
                _remove(left)
    root = above / secrets.token_hex(4)
    root.mkdir()
    with _held(root) as lock:
        if keep:
            (root / "keep").touch()
        try:
            yield Place(root, lock)
        finally:
            if not keep:
                _remove(root)


@contextmanager
def _held(root: Path) -> Iterator[int]:
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    finally:
        os.close(lock)


def _remove(root: Path) -> None:
    """Takes a place away; each worktree in it is forgotten by the repository that it belongs to."""
    for pointer in root.glob("*/.git"):
        tree = str(pointer.parent)
        subprocess.run(["git", "-C", tree, "worktree", "remove", "--force", tree], capture_output=True, check=False)
    shutil.rmtree(root, ignore_errors=True)


def check_out(where: Place, revision: str) -> None:
    """Makes the worktree.

    Raises:
        InputError: if the revision can't be had.
    """
    _worktree(provenance.ROOT, revision, where.code)


def lend_data(where: Place, then: Evidence, project: Path, settings: Settings) -> Path:
    """Puts the recorded dataset version where the rerun looks for it; returns the folder that the rerun starts in.

    A version of a project is checked out with the project, by the DVC files of the recorded revision, from the project's
    cache or remote. A private one is copied, if it is still there; else the rerun builds it again, one of feedback from the
    snapshot that its recipe names.
    """
    dataset = then.get("dataset", {})
    repository, folder = Path(dataset.get("repository") or ""), Path(dataset.get("path") or "")
    if dataset.get("revision") and (repository / ".dvc").is_dir():
        target = where.root / "project"
        _worktree(repository, dataset["revision"], target)
        cache = Workspace(repository, settings).cache()
        (target / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache}\n", encoding="utf-8")
        return target
    pointer, config = folder.with_name(f"{folder.name}.dvc"), folder.parent / ".dvc" / "config"
    if folder.is_dir() and pointer.is_file() and config.is_file():
        target = where.home / "data"
        (target / ".dvc").mkdir(parents=True)
        shutil.copy(config, target / ".dvc" / "config")
        shutil.copy(pointer, target / pointer.name)
        shutil.copytree(folder, target / folder.name)
    elif snapshot := then["recipe"].get("data", {}).get("snapshot"):
        _lend_snapshot(where, snapshot, settings)
    return project


def _lend_snapshot(where: Place, snapshot: str, settings: Settings) -> None:
    """What reviewers had said when the dataset was built: the rerun's own database holds nothing of it."""
    source, target = (path_of(each, snapshot) for each in (settings, Settings(home=where.home)))
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def lend_models(where: Place, recipe: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The recipe with a base that the rerun finds: it has a registry of its own, and needn't fetch from the hub again."""
    where.home.mkdir(parents=True, exist_ok=True)
    _lend_benchmarks(where, settings)
    if (settings.root / "hub").is_dir():
        (where.home / "hub").symlink_to(settings.root / "hub")
    model = recipe.get("model", {})
    if kind(model.get("source", "pretrain")) != "registry":
        return recipe
    folder = registry.fetch(model["source"], settings)
    return {**recipe, "model": {**model, "source": str(folder)}}


def _lend_benchmarks(where: Place, settings: Settings) -> None:
    """Copies stored benchmark data as it is now, DVC's cache left out: a rerun imports none by itself."""
    stored = settings.root / "benchmarks"
    if stored.is_dir():
        shutil.copytree(stored, where.home / "benchmarks", ignore=shutil.ignore_patterns("cache", "tmp"))


def run(where: Place, project: Path, recipe: Mapping[str, Any], then: Evidence, overrides: list[str], settings: Settings) -> str:
    """Runs the recipe to a version in the place's home; returns the version's URI there.

    Raises:
        RerunFailed: if it ended without one.
    """
    file = where.root / "recipe.json"
    file.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    done = subprocess.run(
        [_python(where), "-c", "from flows.cli import main; main()", "run", str(file), *overrides, "--json"],
        cwd=project,
        env=_environment(where, then, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[where.lock],
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    if done.returncode not in _DONE or not report.get("version"):
        said = report.get("error", {}).get("message") or f"it ended with exit code {done.returncode}"
        raise RerunFailed(f"the rerun made no version: {said}")
    return f"models:/{report['version']['name']}/{report['version']['version']}"


def _worktree(repository: Path, revision: str, target: Path) -> None:
    done = subprocess.run(
        ["git", "-C", str(repository), "worktree", "add", "--quiet", "--detach", str(target), revision],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise InputError(
            f"revision {revision} can't be checked out of {repository} ({said}); run from a clone that has it (`git fetch --all`)"
        )


def _python(where: Place) -> str:
    """Python of this environment if the revision has the same lock, else of an environment that is made from its lock."""
    lock = where.code / provenance.LOCK.relative_to(provenance.ROOT)
    if lock.is_file() and provenance.LOCK.is_file() and lock.read_bytes() == provenance.LOCK.read_bytes():
        return sys.executable
    done = subprocess.run(["make", "setup"], cwd=where.code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RerunFailed(f"the environment of the recorded lock can't be made: {' '.join(done.stdout.split())[-400:]}")
    return str(where.code / ".venv" / "bin" / "python")


def _environment(where: Place, then: Evidence, settings: Settings) -> dict[str, str]:
    """Variables of this process without what points to its own records; threads and device as recorded."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS and not name.startswith("PREFECT")}
    kept |= {"PYTHONPATH": str(where.code), "LAPIDAR_HOME": str(where.home), "LAPIDAR_SHARED": str(settings.shared.absolute())}
    if threads := then.get("machine", {}).get("threads"):
        kept["LAPIDAR_THREADS"] = str(threads)
    if device := next((stage["device"] for stage in then.get("stages", []) if stage.get("device")), None):
        kept["LAPIDAR_DEVICE"] = device
    return kept
