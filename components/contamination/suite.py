"""Benchmarks as items: stored benchmark data, a dataset's held-out split, or files whose fields are named.

Usual field names are known: ``question``, ``problem``, ``prompt``, ``instruction``, ``text`` (SVAMP's ``Body`` and ``Question``
together) for the question, ``options``, ``choices`` for choices, ``answer`` and others. A CSV file without a header has numbers
for names: ``text=0``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.artifacts import BenchmarkRef
from components.benchmarks import _stored
from components.contamination.items import Item
from components.data import records
from components.data.records import Record
from components.data.sources.files import read_csv, read_parquet
from components.errors import InputError

_KNOWN = {
    "id": ("id", "question_id", "task_id", "unique_id", "key", "ID", "idx"),
    "text": ("question", "problem", "prompt", "instruction", "text", "turns"),
    "choices": ("options", "choices"),
    "answer": ("answer", "target", "Answer", "completion"),
}
FIELDS = tuple(_KNOWN)
HELDOUT = "heldout"
"""What a dataset's held-out split is called, whichever benchmarks read it."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's items in their order. The texts of a ``hidden`` one may not be shown or kept."""

    name: str
    items: tuple[Item, ...]
    hidden: bool = False


def load(path: Path, fields: Mapping[str, str] | None = None, name: str = "") -> Benchmark:
    """A benchmark from a file, a dataset version (its held-out split), or a stored benchmark.

    Args:
        fields: which field holds ``id``, ``text``, ``choices`` and ``answer``, where the name isn't a usual one.

    Raises:
        InputError: naming file, row and field.
    """
    if path.is_dir():
        if (path / _stored.ABOUT).is_file():
            return stored(BenchmarkRef(path.name, path, ""))
        file, known = _in_folder(path)
        return of(known, _rows(file), file, fields or {})
    return of(name or path.name.split(".")[0], _rows(path, headless=_numbered(fields or {})), path, fields or {})


def stored(ref: BenchmarkRef) -> Benchmark:
    """A benchmark of the home, of which the texts are shown nowhere if its authors ask for that."""
    return replace(of(ref.name, iter(_stored.items(ref)), ref.path / _stored.ITEMS, {}), hidden=_stored.protected(ref))


def of(name: str, rows: Iterator[Record], path: Path, fields: Mapping[str, str]) -> Benchmark:
    """A benchmark from rows."""
    if unknown := [field for field in fields if field not in FIELDS]:
        raise InputError(f"a benchmark has no field {unknown[0]!r}; name {', '.join(FIELDS)}")
    items = tuple(_item(name, row, number, path, fields) for number, row in enumerate(rows, 1))
    if not items:
        raise InputError(f"{path} holds no item; a benchmark needs at least one")
    seen: dict[str, int] = {}
    for number, item in enumerate(items, 1):
        if item.id in seen:
            raise InputError(f"{path}: items {seen[item.id]} and {number} have the same id {item.id!r}; ids tell items apart")
        seen[item.id] = number
    return Benchmark(name, items)


def _in_folder(path: Path) -> tuple[Path, str]:
    if (path / "heldout.jsonl").is_file():
        return path / "heldout.jsonl", HELDOUT
    raise InputError(f"{path} is no benchmark: it has neither benchmark.json nor heldout.jsonl; give a file")


def _rows(path: Path, headless: bool = False) -> Iterator[Record]:
    records.refuse_pointer(path)
    if path.suffix == ".csv":
        return _headless(path) if headless else read_csv(path)
    if path.suffix == ".parquet":
        return read_parquet(path)
    with path.open("rb") as file:
        array = file.read(64).lstrip()[:1] == b"["
    if not array:
        return records.read(path)
    try:
        return iter(json.loads(path.read_bytes()))
    except ValueError as error:
        raise InputError(f"{path} isn't valid JSON ({error})") from error


def _numbered(fields: Mapping[str, str]) -> bool:
    return any(part.isdigit() for value in fields.values() for part in value.split("+"))


def _headless(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.reader(file, strict=True):
            yield {str(column): value for column, value in enumerate(row)}


def _item(name: str, row: Any, number: int, path: Path, fields: Mapping[str, str]) -> Item:
    if not isinstance(row, dict):
        raise InputError(f"{records.place(number, path)} is no object; a benchmark's row has fields")
    text = _text(row, number, path, fields.get("text"))
    choices = _strings(_value(row, number, path, "choices", fields))
    found = _strings(_value(row, number, path, "id", fields))
    answer = _value(row, number, path, "answer", fields)
    return Item(name, found[0] if found else str(number), text, choices, _answer(answer, choices, row))


def _text(row: Record, number: int, path: Path, wanted: str | None) -> str:
    """The question. A blank one stays an item: it can't be compared, so its benchmark can't be called clean."""
    usual = [[name] for name in _KNOWN["text"] if row.get(name) is not None]
    names = wanted.split("+") if wanted else next((n for n in usual if row[n[0]]), (usual or [["Body", "Question"]])[0])
    values = [part for name in names for part in _strings(row.get(name))]
    if len(values) < len(names):
        there = ", ".join(map(str, row))
        raise InputError(
            f"{records.place(number, path)} has no text in {'+'.join(names)!r}, only {there}; name the question's field: text=FIELD"
        )
    return " ".join(values)


def _value(row: Record, number: int, path: Path, field: str, fields: Mapping[str, str]) -> Any:
    """A field's value; several fields joined with ``+`` are a list."""
    if field not in fields:
        return next((row[name] for name in _KNOWN[field] if row.get(name) is not None), None)
    names = fields[field].split("+")
    if missing := [name for name in names if name not in row]:
        raise InputError(f"{records.place(number, path)} has no {missing[0]!r}, only {', '.join(map(str, row))}; correct {field}=…")
    return row[names[0]] if len(names) == 1 else [row[name] for name in names]


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(text for inside in value for text in _strings(inside))
    if isinstance(value, dict):
        return _strings(value.get("text", value.get("content")))  # ARC's choices: {"text": […], "label": […]}; a message: content
    return () if value is None else (value,) if isinstance(value, str) else (json.dumps(value),)


def _answer(value: Any, choices: Sequence[str], row: Record) -> str:
    """The right answer's text: of a multiple-choice item the option that a letter or an index names."""
    if not choices:
        return " ".join(_strings(value))
    index = row.get("answer_index", value)
    if isinstance(index, str) and len(index) == 1 and index.isalpha():
        index = ord(index.upper()) - ord("A")
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(choices):
        return choices[index]
    return value if isinstance(value, str) and value in choices else ""
