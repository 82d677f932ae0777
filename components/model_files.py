"""Model folders on their way to and from MLflow: sha256 of every file, and no pickle in either direction.

They are plain artifacts of a LoggedModel. ``checksums.json`` beside them says what they are, a tag what that file is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.errors import InputError, LapidarError, ParityError
from components.mlflow_client import Connection
from components.spool import flatten
from components.store import file_sha256

CHECKSUMS = "checksums.json"

_PICKLE_NAMES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".msgpack"}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class LoggedModelHandle:
    """Uploaded weights that aren't a version yet.

    Attributes:
        location: URI of the artifacts.
        checksums: sha256 of ``checksums.json``.

    """

    name: str
    model_id: str
    digest: str
    location: str
    checksums: str


class Stored(Protocol):
    """An upload or a version: where its files are and what they must be."""

    @property
    def location(self) -> str:
        """URI of the artifacts."""

    @property
    def checksums(self) -> str:
        """sha256 of ``checksums.json``."""


def checksums(folders: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of all files by ``<folder name>/<path inside>``.

    Raises:
        InputError: if a folder holds no safetensors, or anything that could be a pickle.

    """
    found: dict[str, str] = {}
    for name, folder in sorted(folders.items()):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not any(path.suffix == ".safetensors" for path in files):
            raise InputError(f"{folder} can't be registered as {name!r}: it holds no *.safetensors")
        for path in files:
            refuse_pickle(path)
            found[f"{name}/{path.relative_to(folder).as_posix()}"] = file_sha256(path)
    return found


def refuse_pickle(path: Path) -> None:
    """Refuses a file that is a pickle by its name or its first bytes.

    Raises:
        InputError: naming the file.

    """
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix in _PICKLE_NAMES or start.startswith(_PICKLE_STARTS):
        raise InputError(f"{path} may be a pickle, which can run any code when loaded; only safetensors are registered")


def upload(
    connection: Connection,
    name: str,
    folders: Mapping[str, Path],
    digest: str,
    params: Mapping[str, Any],
    run: str | None,
) -> LoggedModelHandle:
    """One LoggedModel for a digest: found, finished or made; see ``Registry.upload``.

    One that holds other files and became no version was found wrong and stays unused.
    """
    text = json.dumps(checksums(folders), indent=1, sort_keys=True) + "\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    client = connection.client
    query = f"tags.`lapidar.digest` = '{digest}' AND tags.`lapidar.model` = '{name}'"
    present = client.search_logged_models([connection.experiment_id], query, order_by=[{"field_name": "creation_time"}])
    same = [m for m in present if m.tags["lapidar.checksums"] == sha256]
    model = next((m for m in same if m.status == "READY"), same[0] if same else None)
    if model is None:
        if present and client.search_model_versions(f"name = '{name}' AND tags.`lapidar.digest` = '{digest}'"):
            raise LapidarError(f"{name}: digest {digest} stands for other files already ({present[0].artifact_location})")
        tags = {"lapidar.digest": digest, "lapidar.model": name, "lapidar.checksums": sha256}
        values = {key[:250]: str(value)[:6000] for key, value in flatten(dict(params)).items()}
        title = re.sub(r"[/:.%\"']", "-", name)  # MLflow allows these in the name of a version, not of an upload
        model = client.create_logged_model(connection.experiment_id, title, run, tags, values, "lapidar")
    if model.status != "READY":
        for folder, path in folders.items():
            client.log_model_artifacts(model.model_id, str(path), folder)
        connection.upload_text(model.model_id, CHECKSUMS, text)
        client.finalize_logged_model(model.model_id, "READY")
    return LoggedModelHandle(name, model.model_id, digest, model.artifact_location, sha256)


def download(connection: Connection, stored: Stored, source: str, target: Path, folders: tuple[str, ...] | None) -> Path:
    """Plain copies, verified, then moved to ``target``; see ``Registry.download``."""
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        hashes = _recorded(connection, stored, source, part)
        have = sorted({name.partition("/")[0] for name in hashes})
        wanted = list(folders or have)
        if unknown := [folder for folder in wanted if folder not in have]:
            raise InputError(f"{source} has no folder {unknown[0]!r}; it has {', '.join(have)}")
        for folder in wanted:
            connection.download(stored.location, folder, part)
        verify(part, hashes, wanted, source)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _recorded(connection: Connection, stored: Stored, source: str, part: Path) -> dict[str, str]:
    """The checksums of an upload, themselves compared with the tag."""
    file = connection.download(stored.location, CHECKSUMS, part)
    if file_sha256(file) != stored.checksums:
        raise ParityError(f"{source}: {CHECKSUMS} isn't what was uploaded (sha256 differs); register the model again")
    hashes: dict[str, str] = json.loads(file.read_bytes())
    file.unlink()
    return hashes


def verify(root: Path, hashes: Mapping[str, str], folders: list[str], source: str) -> None:
    """Compares a downloaded copy with what was recorded at upload, file by file.

    Raises:
        ParityError: if a file is missing, was added or isn't what it was.
        InputError: if one is a pickle.

    """
    wanted = {name: value for name, value in hashes.items() if name.partition("/")[0] in folders}
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*")) if not path.is_dir()]
    present = {path.relative_to(root).as_posix(): path for path in paths}
    for name in sorted(wanted.keys() - present.keys()):
        raise ParityError(f"{source}: {name} was uploaded and isn't there any more; register the model again")
    for name, path in present.items():
        if name not in wanted:
            raise ParityError(f"{source}: {name} was added after the upload; don't load this copy")
        if path.is_symlink() or file_sha256(path) != wanted[name]:
            raise ParityError(f"{source}: {name} isn't what was uploaded (sha256 differs); register the model again")
        refuse_pickle(path)
