"""Content-addressed, sealed stage outputs: ``store/<stage>/<key>/`` with a manifest of sha256s that is written last.

What has a valid manifest is done; everything else never happened. Optionally mirrored at any fsspec URL.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import Sealed
from components.errors import LapidarError

MANIFEST = "manifest.json"


def stage_key(
    *,
    method: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    seed: int,
    code: str,
    versions: Mapping[str, str],
    device: str,
) -> str:
    """sha256 (64 hex digits) over everything that decides a stage's output; see DESIGN, *Stage, key, seal*."""
    parts = dict(method=method, config=config, inputs=dict(inputs), seed=seed, code=code, versions=dict(versions), device=device)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(hashes: Mapping[str, str]) -> str:
    """sha256 over relative names and file hashes, leaving out ``log/``."""
    lines = sorted(f"{name} {value}\n" for name, value in hashes.items() if not name.startswith("log/"))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder by POSIX name, the manifest left out."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {n: file_sha256(p) for p in files if (n := p.relative_to(folder).as_posix()) != MANIFEST}


class Store:
    """Sealed outputs below a local root, mirrored at ``remote`` (an fsspec URL) if there is one."""

    def __init__(self, root: Path, remote: str | None = None) -> None:
        self.root = root
        self.remote = remote

    def path(self, stage: str, key: str) -> Path:
        """Where an output is or will be."""
        return self.root / stage / key

    def open(self, stage: str, method: str, key: str) -> Sealed | None:
        """The sealed output of a key, verified file by file, or None if it has to be made.

        An output that has no manifest or doesn't match it is moved to ``<key>.damaged`` and counts as not made.
        """
        path = self.path(stage, key)
        if path.exists() and not (path / MANIFEST).exists():
            self._set_aside(path)
        if not path.exists() and not self._pull(stage, key):
            return None
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
            hashes = folder_hashes(path)
        except (OSError, ValueError):
            manifest, hashes = {}, {}
        if not manifest or manifest.get("files") != hashes:
            self._set_aside(path)
            return None
        return _sealed(stage, method, key, path, hashes)

    def seal(self, stage: str, method: str, key: str, folder: Path, record: Mapping[str, Any]) -> Sealed:
        """Makes a finished folder (on the store's filesystem) the output of a key: hash, manifest, sync, rename.

        ``record`` says what the key was made of and when; it is kept in the manifest for lineage.
        """
        hashes = folder_hashes(folder)
        manifest = {"stage": stage, "method": method, "key": key, "record": dict(record), "files": hashes}
        manifest["digest"] = content_digest(hashes)
        for name in hashes:
            _sync(folder / name)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        _sync(folder / MANIFEST)
        path = self.path(stage, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(path)
        except OSError:
            if (present := self.open(stage, method, key)) is not None:
                shutil.rmtree(folder)  # another worker sealed the same key first
                return present
            folder.rename(path)  # what stood there was damaged and is set aside now
        _sync(path.parent)
        self._push(stage, key)
        return _sealed(stage, method, key, path, hashes)

    def make_room(self, before: Sealed, folder: Path) -> str | None:
        """For an output that was made again: the sealed one is set aside, unless it is what ``folder`` holds now.

        Returns:
            What is to be said of it; None if both are equal, then ``seal`` keeps the old one.
        """
        if (now := content_digest(folder_hashes(folder))) == before.digest:
            return None
        aside = before.path.with_name(f"{before.key}.replaced-{before.digest[:12]}")
        shutil.rmtree(aside, ignore_errors=True)
        before.path.rename(aside)
        return f"same key, but {before.digest[:12]} before and {now[:12]} now; the old output is in {aside}"

    def record(self, sealed: Sealed) -> dict[str, Any]:
        """What the key of a sealed output was made of."""
        record: dict[str, Any] = json.loads((sealed.path / MANIFEST).read_bytes())["record"]
        return record

    def _set_aside(self, path: Path) -> None:
        aside = path.with_name(path.name + ".damaged")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)

    def _url(self, stage: str, key: str) -> str:
        return f"{str(self.remote).rstrip('/')}/{stage}/{key}"

    def _push(self, stage: str, key: str) -> None:
        """Copies a sealed output to the mirror, the manifest last."""
        if self.remote is None:
            return
        import fsspec

        path, url = self.path(stage, key), self._url(stage, key)
        try:
            filesystem, target = fsspec.core.url_to_fs(url)
            files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != MANIFEST)
            for file in [*files, path / MANIFEST]:
                name = f"{target}/{file.relative_to(path).as_posix()}"
                filesystem.makedirs(name.rpartition("/")[0], exist_ok=True)
                filesystem.put_file(str(file), name)
        except Exception as error:
            raise LapidarError(f"sealed output {path} could not be copied to {url}: {error}; it is kept locally") from error

    def _pull(self, stage: str, key: str) -> bool:
        """Fetches an output that only the mirror has. The caller verifies it."""
        if self.remote is None:
            return False
        import fsspec

        filesystem, source = fsspec.core.url_to_fs(self._url(stage, key))
        if not filesystem.exists(f"{source}/{MANIFEST}"):
            return False
        path = self.path(stage, key)
        part = path.with_name(f"{key}.pull-{os.getpid()}")
        part.mkdir(parents=True)
        for name in filesystem.find(source):
            file = part / name[len(source) :].lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            filesystem.get_file(name, str(file))
        try:
            part.rename(path)
        except OSError:
            if not (path / MANIFEST).exists():
                raise
            shutil.rmtree(part)  # another worker fetched or sealed it meanwhile
        return True


def _sealed(stage: str, method: str, key: str, path: Path, hashes: Mapping[str, str]) -> Sealed:
    metrics = path / "metrics.json"
    content = json.loads(metrics.read_bytes()) if metrics.exists() else {}
    return Sealed(stage, method, key, path, content_digest(hashes), content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
