"""What a version's run found in its training data: the matches that the sealed ``contamination`` stage keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.contamination.scores import MATCHES, read_matches
from components.settings import Settings
from components.store import Store


def matches(evidence: Mapping[str, Any], settings: Settings) -> list[dict[str, Any]] | None:
    """Matches with both texts, by the stage that the evidence names; None if none looked, or its output isn't in this home."""
    for stage in evidence["stages"]:
        if stage["name"] == "contamination":
            sealed = Store(settings.stages, settings.store).open("screen", str(stage["method"]), str(stage["key"]))
            return read_matches(sealed.path) if sealed is not None and (sealed.path / MATCHES).is_file() else None
    return None
