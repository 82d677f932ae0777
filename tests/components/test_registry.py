import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from components import mlflow_client
from components.artifacts import ModelRef
from components.database.models import PromotionOverride, Registration
from components.errors import InputError, LapidarError, ParityError
from components.gate import Champion, Evidence, Gate, Reason
from components.registry import GateError, Override, Registry, Version
from components.settings import Settings
from components.store import file_sha256

PARITY = {
    "ok": True,
    "reload": {"identical_tokens": True, "max_logit_difference": 0.0},
    "reload_merged": {"identical_tokens": True, "max_logit_difference": 0.0},
    "merged": {"kl": 1e-6, "top1": 1.0},
}


def folders(root: Path, content: bytes = b"weights") -> dict[str, Path]:
    """Files with the names of a model: the registry looks at bytes, not at tensors."""
    for name, file in (("adapter", "adapter_model.safetensors"), ("merged", "model.safetensors")):
        (root / name / "deep").mkdir(parents=True, exist_ok=True)
        (root / name / file).write_bytes(content + name.encode())
        (root / name / "deep" / "config.json").write_text('{"name": "ü\u2028"}', encoding="utf-8")
    return {name: root / name for name in ("adapter", "merged")}


def evidence(digest: str = "d1", **changes: Any) -> Evidence:
    stage = {"name": "sft", "method": "sft", "key": "k" * 64, "status": "ran", "seconds": 3.0}
    whole = Evidence(
        digest=digest,
        dataset={"md5": "abc.dir", "repository": "/repo", "revision": "f00d", "path": "data"},
        recipe={"name": "tiny", "seed": 0, "model": {"source": "pretrain"}},
        code={"revision": "beef", "clean": True},
        lock="10c4",
        seeds={"recipe": 0},
        stages=[stage],
        chat_template="7e44",
        metrics={"sft": {"heldout": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}}}},
        evaluation={"heldout": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}}},
        parity=PARITY,
        licence="Apache-2.0",
        runs={"lapidar": "run1"},
    )
    return replace(whole, **changes)


def gate(verdict: Any = "pass", digest: str = "d1", champion: str | None = None) -> Gate:
    return Gate(verdict, [Reason("champion", verdict, "because | it is so")], digest, champion)


def items(path: Path, scores: Sequence[float] = (0.0, 1.0)) -> dict[str, Path]:
    lines = [{"benchmark": "heldout", "id": i, "scores": {"accuracy": s}, "answer": "a\u2028b"} for i, s in enumerate(scores)]
    path.write_bytes(b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines))
    return {"items.jsonl": path}


def registered(registry: Registry, tmp_path: Path, digest: str = "d1", name: str = "tiny") -> Version:
    handle = registry.upload(name, folders(tmp_path / digest, digest.encode()), digest)
    files = items(tmp_path / f"{digest}.jsonl")
    return registry.register(handle, evidence(digest), gate(digest=digest), files)


@pytest.fixture
def registry(home: Settings) -> Registry:
    return Registry(home)


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
sys.path.insert(0, str(Path(sys.argv[3]).parent))
from test_registry import evidence, folders, gate, items
home, moment, root = Settings(home=Path(sys.argv[1])), sys.argv[2], Path(sys.argv[4])
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
    command = [sys.executable, "-c", KILLED, str(home.root), moment, __file__, str(tmp_path)]
    assert subprocess.run(command, timeout=90).returncode == -signal.SIGKILL
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


def damage(version: Version, how: str) -> None:
    root = Path(version.location.removeprefix("file://"))
    file = root / "merged" / "model.safetensors"
    if how == "changed":
        content = bytearray(file.read_bytes())
        content[0] ^= 1
        file.write_bytes(bytes(content))
    elif how == "gone":
        file.unlink()
    elif how == "added":
        (root / "merged" / "pytorch_model.bin").write_bytes(b"x")
    else:  # weights and their checksum alike: only the tag tells
        file.write_bytes(b"other weights")
        hashes = json.loads((root / "checksums.json").read_text())
        hashes["merged/model.safetensors"] = file_sha256(file)
        (root / "checksums.json").write_text(json.dumps(hashes))


@pytest.mark.parametrize("how", ["changed", "gone", "added", "checksums"])
def test_a_damaged_copy_is_refused(registry: Registry, tmp_path: Path, how: str) -> None:
    version = registered(registry, tmp_path)
    damage(version, how)
    with pytest.raises(ParityError, match=r"models:/tiny/1: .*(merged|checksums\.json)"):
        registry.download(version.uri, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    if how != "checksums":
        registry.download(version.uri, tmp_path / "copy", folders=("adapter",))


@pytest.mark.parametrize(("name", "content"), [("training_args.bin", b"x"), ("weights", b"\x80\x04."), ("w.json", b"PK\x03\x04")])
def test_pickles_are_refused(registry: Registry, tmp_path: Path, name: str, content: bytes) -> None:
    given = folders(tmp_path / "m")
    (given["merged"] / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} may be a pickle"):
        registry.upload("tiny", given, "d1")


def test_wrong_uploads_are_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \*\.safetensors"):
        registry.upload("tiny", {"merged": tmp_path / "empty"}, "d1")
    version = registered(registry, tmp_path)
    with pytest.raises(LapidarError, match="stands for other files already"):
        registry.upload("tiny", folders(tmp_path / "m2", b"other"), version.digest)


def test_an_upload_that_became_no_version_does_not_block_its_digest(registry: Registry, tmp_path: Path) -> None:
    wrong = registry.upload("tiny", folders(tmp_path / "m", b"wrong"), "d1")
    right = registry.upload("tiny", folders(tmp_path / "m2"), "d1")
    assert right.model_id != wrong.model_id
    assert registry.upload("tiny", folders(tmp_path / "m3"), "d1").model_id == right.model_id


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


def test_champion_comes_with_the_items_it_was_registered_with(registry: Registry, tmp_path: Path) -> None:
    assert registry.champion("tiny") is None
    version = registered(registry, tmp_path)
    assert registry.champion("tiny") is None
    assert registry.promote("tiny", version.version, gate()).aliases == ["candidate", "champion"]
    champion = registry.champion("tiny")
    assert isinstance(champion, Champion)
    assert (champion.version, champion.digest) == ("1", "d1")
    assert [item["scores"]["accuracy"] for item in champion.items or []] == [0.0, 1.0]
    assert (champion.items or [])[0]["answer"] == "a\u2028b"


def test_only_a_green_gate_promotes(registry: Registry, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    for verdict in ("fail", "unknown"):
        with pytest.raises(GateError, match=f"its gate is {verdict} .*because"):
            registry.promote("tiny", version.version, gate(verdict))
    with pytest.raises(GateError, match="about other weights"):
        registry.promote("tiny", version.version, gate(digest="d2"))
    assert registry.champion("tiny") is None


def test_a_gate_decided_against_an_older_champion_does_not_promote(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "d1")
    registered(registry, tmp_path, "d2")
    registry.promote("tiny", "1", gate())
    with pytest.raises(GateError, match="the champion has changed"):
        registry.promote("tiny", "2", gate(digest="d2", champion=None))
    assert registry.promote("tiny", "2", gate(digest="d2", champion="d1")).aliases == ["candidate", "champion"]
    assert [v.aliases for v in registry.list_versions("tiny")] == [["candidate", "champion"], []]


def test_an_override_promotes_and_is_logged_for_good(registry: Registry, home: Settings, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    for override in (Override("", "why"), Override("Ada", " ")):
        with pytest.raises(InputError, match="needs the name"):
            registry.promote("tiny", "1", gate("fail"), override)
    promoted = registry.promote("tiny", "1", gate("fail"), Override("Ada", "needed for the demo"))
    assert "champion" in promoted.aliases
    assert promoted.tags["lapidar.override.who"] == "Ada"
    assert promoted.tags["lapidar.gate"] == "fail"
    with registry._database.read() as session:
        [row] = session.scalars(select(PromotionOverride)).all()
    assert (row.who, row.reason, row.version, row.digest) == ("Ada", "needed for the demo", "1", "d1")
    [shown] = Registry(home).show(version.uri)["overrides"]
    assert (shown["who"], shown["gate"]["verdict"]) == ("Ada", "fail")


def test_a_champion_registered_again_keeps_its_first_verdict(registry: Registry, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    registry.promote("tiny", "1", gate())
    handle = registry.upload("tiny", folders(tmp_path / "d1", b"d1"), "d1")
    itself = Gate("pass", [Reason("champion", "pass", "is champion already")], "d1", "d1")
    again = registry.register(handle, evidence(), itself, items(tmp_path / "d1.jsonl"))
    assert (again.version, again.aliases) == (version.version, ["candidate", "champion"])
    assert registry.show(again.uri)["gate"] == gate().to_dict()


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


def logits(ref: ModelRef) -> Any:
    import torch

    from components.models.load import load_model

    model, tokenizer = load_model(ref)
    with torch.no_grad():
        return model(**tokenizer("Question: Tom has 3 apples and buys 4. How many?", return_tensors="pt")).logits


@pytest.fixture
def trained(tiny_llama: Path, tmp_path: Path) -> tuple[ModelRef, Any]:
    """A LoRA adapter with weights that matter, on the tiny Llama; the reference and the PEFT model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(str(tmp_path / "adapter"))
    return ModelRef(tiny_llama, tmp_path / "adapter", "d1"), model


@pytest.mark.slow
def test_our_copy_is_the_trained_model_where_mlflows_flavor_loses_it(
    registry: Registry, home: Settings, trained: tuple[ModelRef, Any], tmp_path: Path
) -> None:
    """MLflow saves a PEFT model under renamed keys and loads fresh random weights instead, without an error."""
    import mlflow
    import torch

    from components.models.load import load_tokenizer

    ref, model = trained
    assert ref.adapter is not None
    wanted = logits(ref)
    tokenizer = load_tokenizer(ref.base)
    merged = tmp_path / "merged"
    connection = mlflow_client.connect(home, None, "lapidar")
    mlflow.set_tracking_uri(connection.address)
    parts = {"model": model, "tokenizer": tokenizer}
    with mlflow.start_run(experiment_id=connection.experiment_id):
        info = mlflow.transformers.log_model(parts, name="flavor", task="text-generation", pip_requirements=["torch"])
    mlflow.set_tracking_uri("")
    fault = connection.download(connection.client.get_logged_model(info.model_id).artifact_location, "model", tmp_path / "x")
    shutil.copytree(ref.base, tmp_path / "named", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(fault, tmp_path / "named", dirs_exist_ok=True)

    handle = registry.upload("tiny", {"merged": tmp_path / "named"}, "d0")
    copy = registry.download(handle, tmp_path / "copy0")
    lost = (logits(ModelRef(copy / "merged", None, "")) - wanted).abs().max().item()
    assert lost > 1e-4
    parity = {"ok": lost <= 1e-4, "reload": {"identical_tokens": False, "max_logit_difference": lost}}
    with pytest.raises(ParityError, match="isn't registered"):
        registry.register(handle, evidence("d0", parity=parity), gate(digest="d0"))
    assert registry.list_versions("tiny") == []

    model.merge_and_unload().save_pretrained(str(merged))
    tokenizer.save_pretrained(str(merged))
    handle = registry.upload("tiny", {"adapter": ref.adapter, "merged": merged}, "d1")
    copy = registry.download(handle, tmp_path / "copy1")
    assert torch.equal(logits(ModelRef(ref.base, copy / "adapter", "")), wanted)
    assert (logits(ModelRef(copy / "merged", None, "")) - wanted).abs().max().item() <= 1e-4
    assert registry.register(handle, evidence(), gate()).version == "1"
