"""Rows of a file or folder in any format that people keep tables in, told apart by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from components.data import records
from components.data.records import Record
from components.data.sources import files
from components.errors import InputError


def read(path: Path, split: str | None = None) -> Iterator[Record]:
    """Rows of JSON Lines (also gzip), a JSON list, CSV, Parquet, or a dataset that ``save_to_disk`` wrote.

    Args:
        split: of a dataset on disk that holds several.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    if not path.exists():
        raise InputError(f"{path} doesn't exist (looked from {Path.cwd()}); correct the path")
    if path.suffix == ".json" and path.is_file() and _is_list(path):
        return _list(path)
    return files.read(files.FileConfig(path=str(path), split=split), path)


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _list(path: Path) -> Iterator[Record]:
    records.refuse_pointer(path)
    try:
        rows = json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} isn't valid UTF-8 (byte {error.start}); save it as UTF-8") from error
    except ValueError as error:
        raise InputError(f"{path} isn't whole JSON ({error}); it may be cut: fetch it again") from error
    if wrong := next((n for n, row in enumerate(rows, 1) if not isinstance(row, dict)), None):
        raise InputError(f"{records.place(wrong, path)} is no JSON object; expected a list of objects")
    yield from rows
