"""What every data source has: a ``Config`` below, and ``build(config, out, settings)`` that writes ``<split>.jsonl`` files.

``build`` gets an empty folder and writes the same bytes for the same config and the same files read. It may add
``notes.json``, which goes into ``dataset.json``. A source that reads files names them with ``files(config, settings)``,
so that a changed file makes a new version. One that reads what changes by itself (a database) names the state that it reads
with ``pin(config, settings)``, which returns the config that a run records.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from components.config import MethodConfig
from components.errors import InputError
from components.settings import Settings

NOTES = "notes.json"


class SourceConfig(MethodConfig):
    """Settings of every source.

    Attributes:
        path: ``data``: the version is the project's own ``data/``, named by ``data.dvc`` in git.
            None: a version of your own, below the home.
    """

    path: Literal["data"] | None = None


def shared(settings: Settings, name: str) -> Path:
    """A file of the shared sample data.

    Raises:
        InputError: if it isn't there.
    """
    path = settings.shared / "data" / name
    if not path.is_file():
        raise InputError(
            f"{path} doesn't exist; set LAPIDAR_SHARED (now {str(settings.shared)!r}) to the folder that holds data/{name}"
        )
    return path


def save_notes(out: Path, notes: dict[str, Any]) -> None:
    """Writes figures about the source that a reader of the dataset should know."""
    (out / NOTES).write_text(json.dumps(notes, sort_keys=True), encoding="utf-8")
