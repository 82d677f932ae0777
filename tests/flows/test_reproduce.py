"""Reruns of a registered version from its record: real worktrees, real runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Finished = tuple[Any, dict[str, Any]]
AUTHOR = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]


def git(*arguments: str, at: Path = ROOT) -> str:
    return subprocess.run(["git", "-C", str(at), *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def committed() -> None:
    """A rerun takes the committed code: what isn't committed would rightly be called a difference."""
    done = subprocess.run(["git", "-C", str(ROOT), "status", "--porcelain", "components"], capture_output=True, text=True)
    if done.returncode or done.stdout:
        pytest.skip("components/ isn't committed")


@pytest.mark.slow
@pytest.mark.usefixtures("committed")
def test_a_version_is_made_again_from_its_record(finished: Finished) -> None:
    home, report = finished
    done = home.call("reproduce", "models:/tiny/1", "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "identical"
    assert verdict["revision"] == git("rev-parse", "HEAD")
    digests = {stage["name"]: stage["digest"] for stage in report["stages"] if stage["name"] in verdict["stages"]}
    assert verdict["stages"] == {name: [digest, digest] for name, digest in digests.items()}
    assert len(digests) == 13
    assert json.loads((home.path / "reproductions" / "tiny-1.json").read_text()) == verdict
    noted = json.loads(home.versions()[0].tags["lapidar.reproduced"])
    assert noted["verdict"] == "identical"
    assert [version.version for version in home.versions()] == ["1"]
    assert list((home.path / "reproduce").iterdir()) == []
    assert str(home.path) not in git("worktree", "list")
    assert home.left_behind() == []


@pytest.mark.slow
@pytest.mark.usefixtures("committed")
def test_changed_code_is_named_with_the_stage_that_it_changed(finished: Finished, tmp_path: Path) -> None:
    home, _ = finished
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(ROOT), str(clone))
    reward = clone / "components" / "rewards" / "length.py"
    reward.write_text(reward.read_text().replace("return max(", "return 0.5 * max("))
    git(*AUTHOR, "commit", "--quiet", "--all", "--message", "Halve a reward", at=clone)
    changed = git("rev-parse", "HEAD", at=clone)
    environment = {**home.environment, "PYTHONPATH": str(clone)}
    command = [sys.executable, "-m", "flows.cli", "reproduce", "models:/tiny/1", "--revision", changed, "--json"]
    before = home.versions()[0].tags
    done = subprocess.run(command, cwd=home.beside, env=environment, capture_output=True, text=True, timeout=300)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["verdict"]) == (3, "drifted"), done.stderr
    assert verdict["first"] == "grpo"
    assert [cause["what"] for cause in verdict["causes"]] == ["code"]
    assert changed[:12] in verdict["causes"][0]["text"]
    assert verdict["stages"]["dpo"][0] == verdict["stages"]["dpo"][1]
    assert home.versions()[0].tags == before, "what other code makes says nothing about the version"


@pytest.mark.slow
@pytest.mark.usefixtures("committed")
def test_another_seed_is_named(finished: Finished) -> None:
    home, _ = finished
    done = home.call("reproduce", "models:/tiny/1", "seed=1", "--json")
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["verdict"]) == (3, "drifted"), done.stderr
    assert verdict["first"] in ("data", "base")
    assert ("seed", "seed of recipe: 0 then, 1 now") in [(cause["what"], cause["text"]) for cause in verdict["causes"]]
    assert all("no noise floor was measured" in metric["text"] for metric in verdict["metrics"] if metric["difference"])


@pytest.mark.slow
def test_wrong_input_is_told_before_anything_runs(finished: Finished) -> None:
    home, _ = finished
    for arguments, words in (
        (["models:/tiny/7"], "there is no models:/tiny/7"),
        (["models:/tinny/1"], "did you mean 'tiny'?"),
        (["models:/tiny/1", "--revision", "f" * 40], "can't be checked out"),
    ):
        done = home.call("reproduce", *arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert list((home.path / "reproduce").iterdir()) == []
