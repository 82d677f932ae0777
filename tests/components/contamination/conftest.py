"""Items, corpora and the shared benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import methods
from components.contamination.items import Block, Hit, Item
from components.settings import Settings

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Rows]:
    """Rows of a file of the shared data."""

    def read(name: str) -> Rows:
        path = Settings().shared / "data" / name
        if not path.exists():
            pytest.skip(f"{path} isn't there; set LAPIDAR_SHARED to the folder with the shared data")
        content = path.read_bytes()
        return json.loads(content) if name.endswith(".json") else [json.loads(line) for line in content.split(b"\n") if line]

    return read


@pytest.fixture(scope="session")
def found() -> Callable[..., list[Hit]]:
    """Hits of a method, with its settings."""

    def find(method: str, items: list[Item], rows: list[list[str]], **settings: Any) -> list[Hit]:
        module = methods.load("contamination", method)
        return list(module.detector(module.Config(**settings), items)(Block(rows)))

    return find


def items(*texts: str, **fields: Any) -> list[Item]:
    return [Item("b", str(number), text, **fields) for number, text in enumerate(texts)]


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
