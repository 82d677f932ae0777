"""A dataset of the Hugging Face hub, pinned to a commit. Fetched by ``lapidar data build`` or ``run``, never by a stage.

Sample::

    data:
      method: hub
      id: openai/gsm8k
      revision: e53f048856ff4f594e959d75785d2c2d37b678ee
      name: main
      tables:
        prompts: {split: train, columns: {prompt: question}}
        heldout: {split: test, columns: {prompt: question}}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from components.artifacts import SplitName
from components.data import pinned, records
from components.data.records import Record
from components.data.sources import _import
from components.data.sources._base import SourceConfig
from components.errors import InputError
from components.settings import Settings


class HubSplit(_import.SplitConfig):
    """One of our splits.

    Attributes:
        split: the hub dataset's split, e.g. ``train`` or ``train[:1000]``.
    """

    split: str


class Config(SourceConfig):
    """Which dataset, which commit.

    Attributes:
        id: ``organisation/name``.
        revision: 40 hex digits of a commit; a branch may move, so none is accepted.
        name: configuration of the dataset, where it has several.
        heldout_share: where no split is held out, the share of prompts (else pairs) that is; 0 for none.
    """

    method: Literal["hub"] = "hub"
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    name: str | None = None
    tables: dict[SplitName, HubSplit] = Field(min_length=1)
    heldout_share: float = Field(0.1, ge=0, lt=1)


def build(config: Config, out: Path, settings: Settings) -> None:
    """Fetches the commit's splits and writes them."""
    for name, split in config.tables.items():
        found = _fetch(config, split.split, settings)
        records.write(out / f"{name}.jsonl", _import.rows(found, name, split, Path(f"{config.id}:{split.split}")))
    if "heldout" not in config.tables and config.heldout_share:
        _import.hold_out(out, config.heldout_share)


def _fetch(config: Config, split: str, settings: Settings) -> Iterator[Record]:
    try:
        found = pinned.fetch(config.id, config.name, split, config.revision, settings)
    except InputError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds, also bare ones
        raise InputError(
            f"dataset {config.id} at {config.revision} can't be fetched ({type(error).__name__}: {error}); it needs a "
            "network path to the Hugging Face hub (or HF_ENDPOINT), or a copy on disk with method: files"
        ) from error
    yield from found
