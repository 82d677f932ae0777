"""A dataset of the Hugging Face hub at exactly one commit.

``load_dataset`` takes a folder of the dataset's name before the hub, and what it fetched of any other commit when the hub can't be
reached: so such a folder is refused, and each commit has a cache of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.errors import InputError
from components.settings import Settings


def fetch(name: str, config: str | None, split: str, commit: str, settings: Settings) -> Any:
    """A split, as a ``datasets.Dataset``.

    Args:
        name: ``organisation/name``.
        config: of a dataset that has several.
        commit: 40 hex digits.

    Raises:
        InputError: if a folder stands in the dataset's place.
        Exception: of a dozen kinds, whatever the hub's client raises where it can't be fetched.
    """
    from datasets import load_dataset

    if Path(name).exists():
        raise InputError(
            f"{Path(name).absolute()} would be read in place of the hub's {name} at {commit}; run from another folder, "
            "or read those files themselves"
        )
    return load_dataset(name, config, split=split, revision=commit, cache_dir=str(settings.root / "hub" / commit))
