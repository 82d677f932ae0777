"""Evidence of a registered version as files: ``evidence/<id>/`` with ``evidence.json``, ``README.md``, gate and items.

The id is a sha256 over what the evidence says, and a tag of the version names the one that counts: a kill in between
leaves the old one in place. Copies of card, evidence and gate stand at the root for whoever looks at them in MLflow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.card import render
from components.errors import ParityError
from components.gate import Evidence, Gate, page
from components.mlflow_client import Connection
from components.store import file_sha256

ITEMS = "items.jsonl"
_LONGEST_TAG = 50_000
_DIFFERS_BETWEEN_EQUAL_RUNS = ("status", "seconds")
_ABOUT_THE_RUN = ("runs", "machine", "speed")


def content(evidence: Evidence, gate: Gate, files: Mapping[str, Path]) -> dict[str, Any]:
    """``evidence.json``: id, evidence, gate, sha256 of the files beside it."""
    hashes = {name: file_sha256(path) for name, path in sorted(files.items())}
    found: dict[str, Any] = {"evidence": evidence.to_dict(), "gate": gate.to_dict(), "files": hashes}
    found = json.loads(json.dumps(found, default=str))
    return {"id": _identity(found), **found}


def write(
    connection: Connection, model_id: str, name: str, evidence: Evidence, gate: Gate, files: Mapping[str, Path]
) -> dict[str, Any]:
    """Uploads evidence to a LoggedModel and returns its content."""
    found = content(evidence, gate, files)
    text, card = json.dumps(found, indent=1, sort_keys=True) + "\n", render(name, evidence, gate)
    folder = _folder(found["id"])
    for file, path in files.items():
        connection.upload_text(model_id, f"{folder}/{file}", path.read_bytes().decode())
    for place in (f"{folder}/", ""):
        connection.upload_text(model_id, f"{place}README.md", card)
        connection.upload_text(model_id, f"{place}evidence.json", text)
        connection.upload_text(model_id, f"{place}gate.json", json.dumps(found["gate"], indent=1) + "\n")
        connection.upload_text(model_id, f"{place}gate.html", page.render(name, gate))
    return found


def read(connection: Connection, location: str, identity: str, scratch: Path) -> dict[str, Any]:
    """The content of ``evidence.json``.

    Raises:
        ParityError: if it isn't what was registered.

    """
    file = connection.download(location, f"{_folder(identity)}/evidence.json", scratch)
    found: dict[str, Any] = json.loads(file.read_bytes())
    if not _identity(found) == found.get("id") == identity:
        raise ParityError(f"{location}: evidence.json isn't what was registered; register the model again")
    return found


def items(connection: Connection, location: str, identity: str, scratch: Path) -> list[dict[str, Any]] | None:
    """The evaluation items that were registered with the evidence; None if there were none.

    Raises:
        ParityError: if they aren't what was registered.

    """
    found = read(connection, location, identity, scratch)
    if ITEMS not in found["files"]:
        return None
    file = connection.download(location, f"{_folder(identity)}/{ITEMS}", scratch)
    if file_sha256(file) != found["files"][ITEMS]:
        raise ParityError(f"{location}: {ITEMS} isn't what was registered; register the model again")
    return [json.loads(line) for line in file.read_bytes().split(b"\n") if line]


def tags(found: Mapping[str, Any]) -> dict[str, str]:
    """What a version shows of its evidence in MLflow; what is longer than a tag stands in ``evidence.json``."""
    evidence, gate = found["evidence"], found["gate"]
    values: dict[str, Any] = {
        "digest": evidence["digest"],
        "dataset.md5": evidence["dataset"].get("md5"),
        "dataset.revision": evidence["dataset"].get("revision"),
        "dataset.repository": evidence["dataset"].get("repository"),
        "recipe": evidence["recipe"],
        "code.revision": evidence["code"].get("revision"),
        "code.clean": evidence["code"].get("clean"),
        "lock": evidence["lock"],
        "seeds": evidence["seeds"],
        "stages": {stage.get("name"): stage.get("key") for stage in evidence["stages"]},
        "chat_template": evidence["chat_template"],
        "evaluation": evidence["evaluation"],
        "metrics": evidence["metrics"],
        "parity": evidence["parity"],
        "contamination": evidence["contamination"],
        "licence": evidence["licence"],
        "gate": gate["verdict"],
        "gate.reasons": gate["reasons"],
    } | {f"run.{tracker}": run for tracker, run in evidence["runs"].items()}
    values["evidence"] = found["id"]  # last, because tags are set one by one: what it names is then complete
    return {f"lapidar.{name}": _tag(value) for name, value in values.items()}


def _tag(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST_TAG else text[:_LONGEST_TAG] + "… (see evidence.json)"


def _folder(identity: str) -> str:
    return f"evidence/{identity[:16]}"


def _identity(found: Mapping[str, Any]) -> str:
    """sha256 over what the evidence says, without what differs between a run and its cached repetition."""
    evidence = {key: value for key, value in found["evidence"].items() if key not in _ABOUT_THE_RUN}
    evidence["stages"] = [
        {key: value for key, value in stage.items() if key not in _DIFFERS_BETWEEN_EQUAL_RUNS} for stage in evidence["stages"]
    ]
    parts = {"evidence": evidence, "gate": found["gate"], "files": found["files"]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
