"""Finds or fetches a base model that isn't trained here. Runs in the parent: the only place that may use the network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from components.artifacts import ModelRef
from components.errors import InputError
from components.models.check import check_folder
from components.models.licence import CARD
from components.settings import Settings
from components.store import content_digest, file_sha256

if TYPE_CHECKING:
    from components.recipe import ModelConfig


class NotFetched(InputError):
    """A model that is elsewhere, and may not be fetched now."""


_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja", "LICEN[SC]E*"]


def kind(source: str) -> str:
    """``pretrain``, ``registry``, ``folder`` or ``hub``."""
    if source == "pretrain":
        return "pretrain"
    if source.startswith("models:/"):
        return "registry"
    looks_local = source.startswith((".", "/", "~")) or Path(source).exists() or source.count("/") != 1
    return "folder" if looks_local else "hub"


def resolve(config: ModelConfig, settings: Settings, fetch: bool = True) -> ModelRef | None:
    """The files of a base model, or None where it is pretrained by a stage.

    Args:
        fetch: False looks only at what is on this machine.

    Raises:
        NotFetched: if it is elsewhere and can't be or mayn't be fetched.
        InputError: if the source isn't there or isn't a model; says what is missing.
    """
    source = kind(config.source)
    if source == "pretrain":
        return None
    if source == "folder":
        folder = Path(config.source).expanduser()
        if not folder.is_dir() and config.source.startswith("shared/"):
            folder = settings.shared / config.source.removeprefix("shared/")
    elif source == "registry":
        from components import registry

        found = registry.fetch(config.source, settings, fetch)
        if found is None:
            raise NotFetched(f"{config.source} isn't in {settings.root} yet; a run fetches it from the registry")
        folder = found
    else:
        folder = _snapshot(config, settings, fetch)
    check_folder(folder)
    return ModelRef(folder.absolute(), None, _digest(folder))


def _snapshot(config: ModelConfig, settings: Settings, fetch: bool) -> Path:
    """The folder of a hub model at a pinned revision."""
    if config.revision is None:
        raise InputError(
            f"model.source={config.source!r} is a hub id and needs model.revision, the 40-hex commit; a branch name would move "
            "(or, if a folder was meant: there is none of that name)"
        )
    from huggingface_hub import snapshot_download

    cache = settings.root / "hub"
    try:
        path = snapshot_download(
            config.source, revision=config.revision, cache_dir=cache, allow_patterns=[*_PATTERNS, CARD], local_files_only=not fetch
        )
    except Exception as error:
        raise NotFetched(
            f"hub model {config.source}@{config.revision[:12]} is not in {cache} and could not be fetched "
            f"({type(error).__name__}); run once with a network (and HF_TOKEN for gated models), or give a local folder"
        ) from error
    return Path(path)


def _digest(folder: Path) -> str:
    """sha256 over the files that make up the model."""
    files = sorted({f for pattern in _PATTERNS for f in folder.glob(pattern)})
    digest = content_digest({f.name: file_sha256(f) for f in files})
    return hashlib.sha256(digest.encode()).hexdigest()
