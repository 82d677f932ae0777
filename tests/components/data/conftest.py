"""Small sources, and a project as a user has it: a git repository with DVC and no data yet."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from components.data import versions
from components.data.sources import wordproblems
from components.settings import Settings

SMALL = {"corpus": 300, "sft": 60, "preference": 60, "prompts": 40, "heldout": 20}


@pytest.fixture
def small() -> Callable[..., wordproblems.Config]:
    """Makes a small word-problem source."""

    def make(**changes: object) -> wordproblems.Config:
        return wordproblems.Config(**{**SMALL, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of the test's own."""
    found = Settings(home=tmp_path / "home")
    found.prepare()
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project, laid out as the repository is."""
    return new_project(tmp_path / "project")


def new_project(folder: Path) -> Path:
    """Lays out an empty project."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").touch()
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (folder / ".gitignore").write_text("/data/\n/.lapidar/\n")
    git(folder, "init", "-q")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Runs git as somebody."""
    who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a version of the small source, made once: each use of DVC takes a second."""
    folder = tmp_path_factory.mktemp("template")
    new_project(folder / "project")
    settings = Settings(home=folder / "home")
    settings.prepare()
    built = versions.build(wordproblems.Config(path="data", **SMALL), settings, folder / "project")  # type: ignore[arg-type]
    assert built.changed
    assert built.pushed is None
    assert built.replaced is None
    return folder / "project"


@pytest.fixture
def commit(project: Path) -> Callable[[str], str]:
    """Commits everything in the project and gives the hash."""

    def make(message: str) -> str:
        git(project, "add", "-A")
        git(project, "commit", "-q", "-m", message)
        return git(project, "rev-parse", "HEAD").strip()

    return make


@pytest.fixture
def shared() -> Path:
    """The shared real data."""
    folder = Settings().shared / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} isn't there; set LAPIDAR_SHARED to the folder with the shared data")
    return folder
