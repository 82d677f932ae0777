"""Locks found by their digest: in the folder, at the run's revision, in the history; packages that differ between runs."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from components import locks
from components.run_comparison import Difference, data_differ, locks_differ
from components.run_records import Record, RunDetail, detail

TEXTS = [
    "torch==2.12.0 \\\n    --hash=sha256:aa\n    # via trl\ntrl[peft]==1.0\n",
    "torch==2.13.0 \\\n    --hash=sha256:bb\ntrl[peft]==1.0\nnumpy==2.0 ; python_version > '3'\n",
    "torch==2.13.0\n",
]
DIGESTS = [hashlib.sha256(text.encode()).hexdigest() for text in TEXTS]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose lock was committed twice; its folder has a third one."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "infra").mkdir()
    who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    for text in TEXTS:
        (folder / locks.LOCK).write_text(text)
        if text != TEXTS[-1]:
            subprocess.run(["git", "-C", str(folder), "add", "-A"], check=True)
            subprocess.run(["git", "-C", str(folder), *who, "commit", "-q", "-m", "lock"], check=True)
    return folder


def run(name: str, lock: str, data: str = "d1") -> RunDetail:
    return detail(name, [Record("", name, "finished", began=0, tags={"lock": lock}, dataset=("data", data))])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_lock_is_found_wherever_it_lies(number: int, project: Path) -> None:
    found = locks.pinned(project, DIGESTS[number])
    assert found is not None
    assert found["torch"] == ("2.12.0" if number == 0 else "2.13.0")
    assert set(found) == [{"torch", "trl"}, {"torch", "trl", "numpy"}, {"torch"}][number]


def test_a_lock_that_nobody_has_is_none(project: Path, tmp_path: Path) -> None:
    assert locks.pinned(project, "0" * 64, revision="HEAD") is None
    assert locks.pinned(tmp_path, DIGESTS[0]) is None


def test_locks_differ_by_package(project: Path) -> None:
    runs = [run("a", DIGESTS[0]), run("b", DIGESTS[1]), run("c", "0" * 64)]
    found, unknown = locks_differ(runs, project)
    assert found == [Difference("torch", ("2.12.0", "2.13.0", "?")), Difference("numpy", ("–", "2.0", "?"))]
    assert unknown == ["c"]
    assert locks_differ([runs[0], runs[0]], project) == ([], [])


def test_data_is_held_against_the_first_run_s() -> None:
    runs = [run("a", "1"), run("b", "1"), run("c", "1", "d2")]
    assert data_differ(runs) == [("c", "d1", "d2")]
