"""What a search of bits and ranks found: ``front.json`` in its sealed output, read by the stages that use it and by pages.

Sample (shortened)::

    {"schema": 1, "bits": [2, 3, 4, 8], "ranks": [0, 8, 16],
     "sensitivity": [{"layer": 0, "bits": 2, "value": 0.31, "low": 0.25, "high": 0.37, "n": 64}, …],
     "trials": [{"number": 0, "step": "sensitivity", "bits": [4, 4], "ranks": [8, 8], "loss": 0.61, "bytes": 90112, "front": true},
                …],
     "reference": {"format": "nf4", "rank": 16, "loss": 0.62, "bytes": 94208}, "budget": 94208,
     "chosen": {"number": 7, "bits": [3, 8], "ranks": [0, 16], "loss": 0.60, "bytes": 90000},
     "confirmed": {"seeds": 3, "steps": 30, "reference": {…}, "chosen": {…},
                   "difference": {"value": -0.01, "low": -0.02, "high": -0.001, "n": 64}},
     "why": "…"}

Losses are nats a token of the answers after a few steps of training; ``confirmed`` is measured on rows that nothing was chosen
on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import LayerChoice, Sealed
from components.errors import LapidarError
from components.settings import Settings
from components.store import MANIFEST

FILE = "front.json"
SCHEMA = 1


def read(folder: Path) -> dict[str, Any]:
    """The content of ``front.json``.

    Raises:
        LapidarError: if it isn't there or is of another layout.
    """
    try:
        found: dict[str, Any] = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise LapidarError(f"{folder} holds no readable {FILE}; run the search again: --from search") from error
    if found.get("schema") != SCHEMA:
        raise LapidarError(f"{folder / FILE} is of schema {found.get('schema')}, this release reads {SCHEMA}; run the search again")
    return found


def chosen(sealed: Sealed) -> LayerChoice:
    """What a finished search chose for each layer."""
    found = read(sealed.path)["chosen"]
    return LayerChoice(tuple(found["bits"]), tuple(found["ranks"]), sealed.digest)


def of_version(evidence: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    """The search behind a registered version; None if it had none, or its output isn't in this home.

    Args:
        evidence: the version's, as ``Registry.show`` has it.
    """
    for stage in evidence.get("stages", []):
        key = str(stage.get("key", ""))
        if stage.get("name") == "search" and key.isalnum():
            folder = settings.stages / "search" / key
            return read(folder) if (folder / MANIFEST).is_file() else None
    return None
