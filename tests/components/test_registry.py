"""Registering: a version with all its evidence, once for each digest, whatever is killed meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from components import mlflow_client
from components.database.models import Registration
from components.errors import InputError, LapidarError, ParityError
from components.gate import Champion
from components.registry import Registry
from components.settings import Settings
from tests.components.registered import evidence, folders, gate, items, registered


def test_a_version_carries_its_weights_and_all_its_evidence(registry: Registry, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    assert (version.name, version.version, version.digest, version.aliases) == ("tiny", "1", "d1", ["candidate"])
    copy = registry.download("models:/tiny@candidate", tmp_path / "copy")
    for name, folder in folders(tmp_path / "d1", b"d1").items():
        for file in (p for p in folder.rglob("*") if p.is_file()):
            assert (copy / name / file.relative_to(folder)).read_bytes() == file.read_bytes()
    shown = registry.show("models:/tiny/1")
    assert shown["evidence"] == json.loads(json.dumps(evidence().to_dict()))
    assert not {"noise", "judgement", "votes", "speed"} & shown["evidence"].keys(), "what isn't there must not change an id"
    assert shown["gate"] == gate().to_dict()
    assert shown["overrides"] == []
    json.dumps(shown)
    for name in ("dataset.md5", "dataset.revision", "recipe", "code.revision", "code.clean", "lock", "seeds", "stages"):
        assert version.tags[f"lapidar.{name}"]
    for name in ("chat_template", "evaluation", "metrics", "parity", "gate", "gate.reasons", "licence", "run.lapidar"):
        assert version.tags[f"lapidar.{name}"]
    assert json.loads(version.tags["lapidar.stages"]) == {"sft": "k" * 64}


def test_the_card_has_front_matter_and_tables(registry: Registry, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    connection = mlflow_client.connect(registry._settings, None, "lapidar")
    text = connection.download(version.location, "README.md", tmp_path).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    content = yaml.safe_load(front)
    assert content["license"] == "Apache-2.0"
    assert content["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.5}]
    assert "| heldout | accuracy | 0.500 | 0.400 to 0.600 | 100 |" in body
    assert "because \\| it is so" in body


def test_the_same_digest_twice_is_one_version(registry: Registry, home: Settings, tmp_path: Path) -> None:
    first = registered(registry, tmp_path)
    again = registered(Registry(home), tmp_path)
    assert again == first
    handle = registry.upload("tiny", folders(tmp_path / "d1", b"d1"), "d1")
    cached = [{**evidence().stages[0], "status": "cached", "seconds": 0.0}]
    repeated = evidence(stages=cached, runs={"lapidar": "run2"})
    assert registry.register(handle, repeated, gate(), items(tmp_path / "d1.jsonl")) == first
    assert registry.show(first.uri)["evidence"]["stages"][0]["status"] == "ran"
    assert [v.version for v in registry.list_versions("tiny")] == ["1"]
    assert len(connection_models(home)) == 1


def test_a_home_that_was_moved_has_its_versions_and_puts_new_ones_beside_them(
    registry: Registry, home: Settings, tmp_path: Path
) -> None:
    before = registered(registry, tmp_path)
    moved = Settings(home=home.root.rename(tmp_path / "moved's home"))
    after = Registry(moved)
    shown = after.show("models:/tiny/1")
    assert shown["evidence"] == json.loads(json.dumps(evidence().to_dict()))
    assert after.download("models:/tiny@candidate", tmp_path / "copy").is_dir()
    assert after.resolve("models:/tiny/1").location != before.location
    assert registered(after, tmp_path).version == "1"
    assert registered(after, tmp_path, "d2").version == "2"
    assert not home.root.exists(), "it went on writing where the home was"


def test_a_database_that_is_none_is_named(home: Settings) -> None:
    home.services.mkdir(parents=True, exist_ok=True)
    for file in home.services.glob("mlflow.db*"):
        file.unlink()
    (home.services / "mlflow.db").write_bytes(b"no database at all" * 99)
    with pytest.raises(LapidarError, match=r"mlflow.db can't be read \(file is not a database\)"):
        Registry(home).list_versions()


def connection_models(home: Settings) -> list[Any]:
    connection = mlflow_client.connect(home, None, "lapidar")
    return list(connection.client.search_logged_models([connection.experiment_id]))


def test_another_digest_is_another_version_and_takes_the_alias(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "d1")
    registered(registry, tmp_path, "d2")
    registered(registry, tmp_path, "d2", name="other-0.5b")
    assert [(v.version, v.aliases) for v in registry.list_versions("tiny")] == [("2", ["candidate"]), ("1", [])]
    assert {v.name for v in registry.list_versions()} == {"tiny", "other-0.5b"}


def test_newer_evidence_takes_the_place_of_the_old(registry: Registry, tmp_path: Path) -> None:
    first = registered(registry, tmp_path)
    handle = registry.upload("tiny", folders(tmp_path / "d1", b"d1"), "d1")
    second = registry.register(handle, evidence(licence="MIT"), gate("fail"))
    assert second.version == first.version
    assert registry.show(second.uri)["evidence"]["licence"] == "MIT"
    assert second.tags["lapidar.gate"] == "fail"


def test_no_version_without_parity(registry: Registry, tmp_path: Path) -> None:
    handle = registry.upload("tiny", folders(tmp_path / "m"), "d1")
    for parity in ({}, {"ok": False}, {"ok": 1}, {"ok": None}):
        with pytest.raises(ParityError, match="isn't registered"):
            registry.register(handle, evidence(parity=parity), gate())
    with pytest.raises(LapidarError, match="different weights"):
        registry.register(handle, evidence("d2"), gate())
    assert registry.list_versions("tiny") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from components import versions, mlflow_client, model_files
from components.registry import Registry
from components.settings import Settings
from components.store import file_sha256
from tests.components.registered import evidence, folders, gate, items
home, moment, root = Settings(home=Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
if moment == "version":
    create = versions.create
    versions.create = lambda *a: (create(*a), die())
if moment == "alias":
    versions.mark = die
if moment == "upload":
    mlflow_client.Connection.upload_text = die
registry = Registry(home)
handle = registry.upload("tiny", folders(root / "d1", b"d1"), "d1")
registry.register(handle, evidence(), gate(), items(root / "d1.jsonl"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["upload", "version", "alias"])
def test_a_kill_leaves_exactly_one_version_after_the_next_run(home: Settings, tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-c", KILLED, str(home.root), moment, str(tmp_path)]
    assert subprocess.run(command, timeout=90, cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
    registry = Registry(home)
    with registry._database.read() as session:
        rows = session.scalars(select(Registration)).all()
    assert [row.version for row in rows] == (["1"] if moment == "alias" else [])
    version = registered(registry, tmp_path)
    assert [(v.version, v.aliases) for v in registry.list_versions("tiny")] == [("1", ["candidate"])]
    assert version.version == "1"
    assert len(connection_models(home)) == 1
    registry.download(version.uri, tmp_path / "copy")


def test_a_version_that_somebody_deleted_is_made_again(registry: Registry, home: Settings, tmp_path: Path) -> None:
    registered(registry, tmp_path)
    mlflow_client.connect(home, None, "lapidar").client.delete_model_version("tiny", "1")
    version = registered(registry, tmp_path)
    assert version.digest == "d1"
    assert len(registry.list_versions("tiny")) == 1


def test_names_that_do_not_exist_get_a_sentence(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path)
    with pytest.raises(InputError, match=r"there is no models:/tiny/7; tiny has versions 1 @candidate"):
        registry.resolve("models:/tiny/7")
    with pytest.raises(InputError, match=r"there is no models:/tiny@champion"):
        registry.resolve("models:/tiny@champion")
    with pytest.raises(InputError, match="no versions"):
        registry.resolve("models:/nothing/1")
    with pytest.raises(InputError, match="isn't of the form"):
        registry.resolve("tiny")
    with pytest.raises(InputError, match="has no folder 'export'; it has adapter, merged"):
        registry.download("models:/tiny/1", tmp_path / "copy", folders=("export",))


@pytest.mark.slow
def test_through_a_server(home: Settings, server: Any, tmp_path: Path) -> None:
    """Local services share the home's files; a server somewhere else gets them through HTTP."""
    server.start()
    elsewhere = Settings(home=tmp_path / "mine", tracking_uri=server.uri)
    for registry, name, scheme in (
        (Registry(home, server.uri), "near", "file://"),
        (Registry(elsewhere, experiment="elsewhere"), "far", "mlflow-artifacts:"),
    ):
        version = registered(registry, tmp_path, name=name)
        assert registered(registry, tmp_path, name=name) == version
        assert version.location.startswith(scheme)
        registry.promote(name, "1", gate())
        assert [v.aliases for v in registry.list_versions(name)] == [["candidate", "champion"]]
        assert len((registry.champion(name) or Champion("", "", None)).items or []) == 2
        with pytest.raises(InputError, match=f"there is no models:/{name}/9"):
            registry.resolve(f"models:/{name}/9")
        copy = registry.download(f"models:/{name}@champion", tmp_path / "copy")
        assert (copy / "merged" / "model.safetensors").read_bytes() == b"d1merged"
    server.stop()
    without = Registry(home)
    assert registered(without, tmp_path, name="near").version == "1"
    without.download("models:/near@champion", tmp_path / "copy")
