"""What reviewers said of models' answers: blind votes, thumbs, edited answers, as a preference dataset.

It is built from a snapshot of the database, not from the database: what a version was made of stays the same when people go on
voting. Prompts are held out by a hash of their text, so a prompt is in training or held out whatever is voted later; of a
conversation, by its first question, so that all of its turns are on the same side. Rows, on both sides: see
``components.reviews.dataset``; ``dataset.json`` notes what was left out and why, and how far reviewers agree.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from components.data import records
from components.data.records import Record
from components.data.separate import normalised
from components.data.sources._base import SourceConfig, save_notes
from components.errors import InputError
from components.settings import Settings


class Config(SourceConfig):
    """Which of it becomes data.

    Attributes:
        snapshot: sha256 of the snapshot; None takes one now.
        models: only what is about these (``models:/name/3``); all by default.
        min_agreement: least share of the votes on a prompt and two models that are for the same one.
        min_votes: fewer votes on them make no pair.
        ties: whether a tie counts ``against`` the preferred answer in that share (as do votes that both are bad), or they are
            ignored there. Where most say tie there is no pair in any case.
        exclude_clickers: leaves out reviewers who vote as if by chance, see ``components.reviews.diagnosis``.
        sources: what counts: ``vote``, ``edit``, ``thumb``.
        heldout: share of the prompts that is held out; 0 for none.
    """

    method: Literal["feedback"] = "feedback"
    snapshot: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    models: tuple[str, ...] = ()
    min_agreement: float = Field(0.6, gt=0, le=1)
    min_votes: int = Field(1, ge=1)
    ties: Literal["against", "ignore"] = "against"
    exclude_clickers: bool = True
    sources: tuple[Literal["vote", "edit", "thumb"], ...] = Field(("vote", "edit", "thumb"), min_length=1)
    heldout: float = Field(0.2, ge=0, lt=1)


def pin(config: Config, settings: Settings) -> Config:
    """The config with its snapshot, taken now where none is named.

    Raises:
        InputError: if nobody has said anything yet.
    """
    if config.snapshot is not None:
        return config
    from components.reviews import snapshot

    return config.model_copy(update={"snapshot": snapshot.take(settings)})


def build(config: Config, out: Path, settings: Settings) -> None:
    """Writes preference and heldout, which hold pairs both, and labelled where there are thumbs.

    Raises:
        InputError: if the snapshot isn't there, or leaves no pair in a split.
    """
    from components.reviews import dataset, snapshot

    config = pin(config, settings)
    found = dataset.rows(snapshot.read(snapshot.path_of(settings, str(config.snapshot))), config)
    if not found.pairs:
        raise InputError(
            f"no pair is left of {found.notes['votes']} votes and {found.notes['remarks']} remarks ({_why(found.notes)})"
        )
    held = [row for row in found.pairs if _held(row, config)]
    kept = [row for row in found.pairs if not _held(row, config)]
    if config.heldout and not (held and kept):
        raise InputError(
            f"data.heldout={config.heldout} of {len(found.pairs)} pairs leaves {len(kept)} to train on and {len(held)} held out; "
            "collect votes on more prompts, or set it to 0"
        )
    splits = {"preference": kept, "heldout": held, "labelled": [row for row in found.labelled if not _held(row, config)]}
    for name, rows in splits.items():
        if rows:
            records.write(out / f"{name}.jsonl", rows)
    save_notes(out, found.notes)


def _held(row: Record, config: Config) -> bool:
    """Whether a row's prompt is held out, which follows from its text, or its first question, alone."""
    prompt = row["prompt"]
    asked = prompt if isinstance(prompt, str) else next(message["content"] for message in prompt if message["role"] == "user")
    draw = int(hashlib.sha256(normalised(asked).encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) / 2**32
    return draw < config.heldout


def _why(notes: Record) -> str:
    left = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in notes["left_out"].items())
    return left or "nothing was left out"
