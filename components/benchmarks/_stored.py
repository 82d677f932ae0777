"""A benchmark's data as it is stored: one folder and one DVC version a benchmark.

Below the home as ``benchmarks/<name>/``::

    items.jsonl      {"id": "1986", "group": "psychology", "question": "…", "options": ["…"], "answer": "E", …}
    examples.jsonl   solved rows of the same form for few-shot prompts, where the benchmark has them
    benchmark.json   {"name": "mmlu_pro", "items": 12032, "examples": 70, "from": "test.jsonl", "licence": "…"}

A protected benchmark's rows are veiled (``components.data.veil``). Filled by ``components.data.benchmarks``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.artifacts import BenchmarkRef
from components.data import records, veil
from components.data.records import Record

ITEMS, EXAMPLES, ABOUT = "items.jsonl", "examples.jsonl", "benchmark.json"


def items(ref: BenchmarkRef) -> list[Record]:
    """The stored items."""
    return _read(ref.path / ITEMS)


def examples(ref: BenchmarkRef) -> list[Record]:
    """The stored solved examples; none where the benchmark has none."""
    return _read(ref.path / EXAMPLES)


def about(ref: BenchmarkRef) -> dict[str, Any]:
    """What is known of a version: the name of the file that it came from, numbers, licence."""
    found: dict[str, Any] = json.loads((ref.path / ABOUT).read_bytes())
    return found


def protected(ref: BenchmarkRef) -> bool:
    """Whether its texts are kept out of plain sight."""
    return _veiled(ref.path / ITEMS).exists()


def _veiled(path: Path) -> Path:
    return path.with_name(path.name + veil.SUFFIX)


def _read(path: Path) -> list[Record]:
    if (veiled := _veiled(path)).exists():
        content = veil.unveil(veiled.read_bytes(), str(veiled))
        return [json.loads(line) for line in content.split(b"\n") if line]
    return list(records.read(path)) if path.exists() else []
