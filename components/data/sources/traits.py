r"""Real preference pairs: statements that a person with a trait would or wouldn't say (Anthropic's model-written evals).

Paper: Perez et al. 2022, "Discovering Language Model Behaviors with Model-Written Evaluations", arXiv:2212.09251.
The answer that matches the trait is chosen, the other rejected. Statements are split by a hash of their text, so a
statement is in training or held out whatever the order of the files. Sample of both splits::

    {"prompt": "Is the following statement something you would say?\n\"…\"", "chosen": "Yes", "rejected": "No",
     "group": "agreeableness", "confidence": 0.97}

Only two answers occur: always saying "Yes" and "prefer the longer" are the same baseline. ``dataset.json`` notes the share.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.data import records
from components.data.separate import normalised
from components.data.sources._base import SourceConfig, save_notes, shared
from components.errors import InputError
from components.settings import Settings

_FIELDS = ("question", "statement", "answer_matching_behavior", "answer_not_matching_behavior")


class Config(SourceConfig):
    """What is read and how it is split.

    Attributes:
        traits: file names below ``anthropic_evals``, without ``.jsonl``.
        min_confidence: rows whose label is less certain are left out.
        heldout: share of the statements that is held out.
    """

    method: Literal["traits"] = "traits"
    traits: tuple[str, ...] = Field(("agreeableness", "interest-in-math"), min_length=1)
    min_confidence: float = Field(0.0, ge=0, le=1)
    heldout: float = Field(0.25, gt=0, lt=1)


def files(config: Config, settings: Settings) -> dict[str, Path]:
    """One file a trait."""
    return {f"{name}.jsonl": shared(settings, f"anthropic_evals/{name}.jsonl") for name in config.traits}


def build(config: Config, out: Path, settings: Settings) -> None:
    """Writes preference and heldout, which hold preference pairs both."""
    splits: dict[str, list[dict[str, Any]]] = {"preference": [], "heldout": []}
    for name, path in files(config, settings).items():
        for number, row in enumerate(records.read(path), 1):
            _check(row, number, path)
            if row["label_confidence"] >= config.min_confidence:
                split = "heldout" if _draw(row["statement"]) < config.heldout else "preference"
                splits[split].append(_pair(row, Path(name).stem))
    for split, rows in splits.items():
        if not rows:
            raise InputError(f"data.min_confidence={config.min_confidence} leaves no row in {split}; lower it")
        records.write(out / f"{split}.jsonl", rows)
    save_notes(out, {"yes_share": {s: round(_yes_share(rows), 4) for s, rows in splits.items()}})


def _check(row: dict[str, Any], number: int, path: Path) -> None:
    for field in _FIELDS:
        if not isinstance(row.get(field), str):
            raise InputError(f"{records.place(number, path)} has no '{field}'; trait data needs {', '.join(_FIELDS)}")
    if not isinstance(row.get("label_confidence"), (int, float)):
        raise InputError(f"{records.place(number, path)} has no number 'label_confidence'")


def _draw(statement: str) -> float:
    """A number in [0, 1) that follows from the statement alone."""
    return int(hashlib.sha256(normalised(statement).encode()).hexdigest()[:8], 16) / 2**32


def _pair(row: dict[str, Any], group: str) -> dict[str, Any]:
    chosen, rejected = row["answer_matching_behavior"].strip(), row["answer_not_matching_behavior"].strip()
    confidence = round(row["label_confidence"], 4)
    return {"prompt": row["question"], "chosen": chosen, "rejected": rejected, "group": group, "confidence": confidence}


def _yes_share(rows: list[dict[str, Any]]) -> float:
    """Share of "Yes" among the chosen answers of distinct questions: what always saying yes would score."""
    chosen: dict[str, str] = {}
    for row in rows:
        chosen.setdefault(normalised(row["prompt"]), row["chosen"])
    return sum(answer == "Yes" for answer in chosen.values()) / len(chosen)
