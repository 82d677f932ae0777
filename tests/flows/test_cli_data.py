"""``lapidar data``: one JSON document on stdout, exit codes, and messages that help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = """\
name: small
data: {method: wordproblems, path: data, corpus: 200, sft: 40, preference: 40, prompts: 40, heldout: 10}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").touch()
    (tmp_path / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (tmp_path / ".gitignore").write_text("/data/\n/.lapidar/\n")
    (tmp_path / "small.yaml").write_text(RECIPE)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def lapidar(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", "data", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_build_validate_list_and_compare(project: Path) -> None:
    built = lapidar(project, "build", "small.yaml", "--json")
    assert built.returncode == 0, built.stderr
    first = json.loads(built.stdout)
    assert first["changed"]
    assert first["md5"].endswith(".dir")
    assert first["splits"]["sft"]["rows"] == 40
    text = lapidar(project, "validate", "small.yaml")
    assert text.returncode == 0
    assert f"is valid, version {first['md5']}" in text.stdout
    second = json.loads(lapidar(project, "build", "small.yaml", "data.sft=50", "--json").stdout)
    assert second["md5"] != first["md5"]
    listed = json.loads(lapidar(project, "versions", "--json").stdout)
    assert [(v["name"], v["md5"]) for v in listed] == [("workspace", second["md5"])]
    found = lapidar(project, "diff", "workspace", "workspace", "--json")
    assert json.loads(found.stdout)["splits"]["sft"] == {
        "added": 0, "removed": 0, "changed": 0, "unchanged": 50, "samples": {"added": [], "removed": [], "changed": []},
    }  # fmt: skip
    (project / "data" / "sft.jsonl").write_text("{}\n")
    wrong = lapidar(project, "validate", "small.yaml", "data.sft=50")
    assert wrong.returncode == 2
    assert second["md5"] in wrong.stderr
    assert "dvc checkout data.dvc" in wrong.stderr
    assert not wrong.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "nothing"], "no recipe 'nothing'"),
        (["build", "small.yaml", "data.sizes=3"], "override: unknown key 'data.sizes'; known keys are method, path,"),
        (["build", "small.yaml", "data.sft=-3"], "override: data.sft=-3: input should be greater than or equal to 1"),
        (["build", "small.yaml", "data.path=other"], "data.path='other': input should be 'data'"),
        (["diff", "nonsense"], "no dataset version 'nonsense'"),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(project: Path, arguments: list[str], said: str) -> None:
    done = lapidar(project, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not done.stdout
    assert not (project / "data").exists()
    assert not (project / "data.dvc").exists()


def test_versions_of_nothing(project: Path) -> None:
    assert json.loads(lapidar(project, "versions", "--json").stdout) == []
    assert "lapidar data build quickstart" in lapidar(project, "versions").stdout
