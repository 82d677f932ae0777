"""What goes into the registry as weights comes out as the same weights, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from components import mlflow_client
from components.artifacts import ModelRef
from components.errors import InputError, LapidarError, ParityError
from components.registry import Registry, Version
from components.settings import Settings
from components.store import file_sha256
from tests.components.registered import evidence, folders, gate, registered


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


QUESTION = "Question: Tom has 3 apples and buys 4. How many?"


def logits(ref: ModelRef) -> Any:
    import torch

    from components.models.load import load_model

    model, tokenizer = load_model(ref)
    with torch.no_grad():
        return model(**tokenizer(QUESTION, return_tensors="pt")).logits


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
    """MLflow saves a PEFT model under renamed keys, and transformers loads fresh random weights instead, without an error."""
    import mlflow
    import torch
    from transformers import AutoModelForCausalLM

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
    with pytest.raises(InputError, match=r"isn't whole: 4 of the weights that config\.json asks for aren't there"):
        logits(ModelRef(copy / "merged", None, ""))
    fresh = AutoModelForCausalLM.from_pretrained(copy / "merged")
    with torch.no_grad():
        lost = (fresh(**tokenizer(QUESTION, return_tensors="pt")).logits - wanted).abs().max().item()
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
