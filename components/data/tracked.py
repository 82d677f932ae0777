"""What a ``.dvc`` file names, and the md5 by which DVC names a folder.

Sample of ``data.dvc``::

    outs:
    - {md5: 826bc1662348de9fd3c7069c975fdf8e.dir, size: 13, nfiles: 2, hash: md5, path: data}
    meta: {source: {method: wordproblems, seed: 0}}
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import InputError

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class Tracked:
    """What a ``.dvc`` file names.

    Attributes:
        md5: DVC's md5 of the folder, ``….dir``.
        size: bytes in all.
        files: number of files.
        source: the source's settings, if the version was made by us.
    """

    md5: str
    size: int
    files: int
    source: dict[str, Any] | None = None


def folder_md5(folder: Path) -> Tracked:
    """md5, size and number of files of a folder, as DVC computes them: the md5 of its sorted listing of files."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    entries = []
    for name in sorted(paths):
        with paths[name].open("rb") as file:
            entries.append({"md5": hashlib.file_digest(file, _md5).hexdigest(), "relpath": name})
    listing = json.dumps(entries, sort_keys=True).encode()
    size = sum(path.stat().st_size for path in paths.values())
    return Tracked(f"{_md5(listing).hexdigest()}.dir", size, len(entries))


def parse(content: bytes, place: str) -> Tracked:
    """Reads a ``.dvc`` file.

    Raises:
        InputError: if it isn't one, naming ``place``.
    """
    if b"<<<<<<<" in content:
        name = Path(place).name
        raise InputError(
            f"{place} holds two versions, a merge that isn't finished; take one of them with `git checkout --ours {name}` or "
            f"`git checkout --theirs {name}`"
        )
    try:
        loaded = yaml.safe_load(content)
        out = loaded["outs"][0]
        md5, hashed = str(out["md5"]), out.get("hash")
        source = (loaded.get("meta") or {}).get("source")
        if not _MD5.fullmatch(md5) or hashed != "md5":
            raise ValueError(f"md5 {md5!r}, hash {hashed!r}")
        return Tracked(md5, int(out.get("size", 0)), int(out.get("nfiles", 1)), source)
    except (yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        said = " ".join(str(error).split())
        own = Path(place).name.startswith("data.dvc")
        remedy = "restore it with `git checkout data.dvc`" if own else "delete it, and what it names is made again"
        raise InputError(f"{place} names no DVC folder ({said}); {remedy}") from error


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
