"""The licence of a model folder, as its model card or its licence file states it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CARD = "README.md"
_TEXTS = {
    "apache license version 2.0": "apache-2.0",
    "permission is hereby granted, free of charge, to any person obtaining a copy of this software": "mit",
    "creative commons attribution 4.0": "cc-by-4.0",
    "creative commons attribution-noncommercial 4.0": "cc-by-nc-4.0",
}


def licence(folder: Path) -> str | None:
    """The model card's ``license`` (``license_name`` where that says *other*), else what the licence file is known as.

    Returns:
        The hub's identifier, the first line of a licence file that isn't known, or None if the folder states none.
    """
    card = _front_matter(folder / CARD)
    stated = card.get("license")
    if isinstance(stated, str) and stated.lower() == "other":
        stated = card.get("license_name") or stated
    if stated:
        return ", ".join(stated) if isinstance(stated, list) else str(stated)
    for file in sorted(folder.glob("LICEN[SC]E*")):
        text = file.read_text(encoding="utf-8", errors="replace")
        words = " ".join(text.lower().split())
        known = next((name for sign, name in _TEXTS.items() if sign in words), None)
        return known or text.strip().partition("\n")[0].strip() or None
    return None


def _front_matter(card: Path) -> dict[str, Any]:
    """The YAML between the first two ``---`` of a model card; nothing if there is none or it can't be read."""
    if not card.is_file():
        return {}
    head, *rest = card.read_text(encoding="utf-8", errors="replace").split("\n---", 2)
    if not rest or not head.startswith("---"):
        return {}
    try:
        found = yaml.safe_load(head[3:])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
