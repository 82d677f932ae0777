"""A user's own files: JSON Lines (also gzip), CSV, Parquet, or a Hugging Face dataset on disk.

Sample::

    data:
      method: files
      files:
        sft: {path: train.csv, columns: {prompt: question, completion: solution}}
        heldout: {path: test.jsonl.gz, columns: {prompt: "{Body} {Question}", answer: Answer}, limit: 500}

Paths are relative to the working folder.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from components.artifacts import SplitName
from components.data import records
from components.data.records import Record
from components.data.sources import _import
from components.data.sources._base import SourceConfig
from components.errors import InputError
from components.settings import Settings

Format = Literal["jsonl", "csv", "parquet", "dataset"]
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip


class FileConfig(_import.SplitConfig):
    """One split's file.

    Attributes:
        format: ``auto`` goes by the name; a folder is a dataset that ``save_to_disk`` wrote.
        split: which split of a dataset on disk that holds several.
    """

    path: str = Field(min_length=1)
    format: Literal["auto", "jsonl", "csv", "parquet", "dataset"] = "auto"
    split: str | None = None


class Config(SourceConfig):
    """Files by split.

    Attributes:
        heldout_share: where no file is held out, the share of prompts (else pairs) that is; 0 for none.
    """

    method: Literal["files"] = "files"
    files: dict[SplitName, FileConfig] = Field(min_length=1)
    heldout_share: float = Field(0.1, ge=0, lt=1)


def files(config: Config, settings: Settings) -> dict[str, Path]:
    """Every file that is read, by its path as the recipe has it; an empty one in a folder (``.gitkeep``) holds nothing."""
    found: dict[str, Path] = {}
    for split in config.files.values():
        path = Path(split.path)
        if records.is_folder(path):
            found |= {f"{split.path}/{f.relative_to(path)}": f for f in sorted(path.rglob("*")) if f.is_file() and f.stat().st_size}
        else:
            found[split.path] = path
    return found


def build(config: Config, out: Path, settings: Settings) -> None:
    """Writes each split, and a held-out one where none is given."""
    for name, split in config.files.items():
        path = Path(split.path)
        records.write(out / f"{name}.jsonl", _import.rows(read(split, path), name, split, path))
    if "heldout" not in config.files and config.heldout_share:
        _import.hold_out(out, config.heldout_share)


def read(config: FileConfig, path: Path) -> Iterator[Record]:
    """Rows of one file, by its format."""
    kind = _format(config, path)
    if kind == "dataset":
        return _dataset(path, config.split)
    records.refuse_pointer(path)
    if config.split is not None:
        raise InputError(f"{path} is one {kind} file; 'split' is for a dataset on disk")
    if kind == "jsonl":
        return records.read(path)
    if kind == "parquet":
        return read_parquet(path)
    _check_header(path)
    return read_csv(path)


def _format(config: FileConfig, path: Path) -> Format:
    if config.format != "auto":
        return config.format
    if records.is_folder(path):
        return "dataset"
    ending = path.suffix.lower()
    suffix = Path(path.stem).suffix.lower() if ending == ".gz" else ending
    if suffix not in _SUFFIXES:
        raise InputError(f"{path}: no format has the suffix {path.suffix!r}; set 'format' to jsonl, csv, parquet or dataset")
    if ending == ".gz" and _SUFFIXES[suffix] != "jsonl":
        raise InputError(f"{path} is packed, and only JSON Lines are read so; unpack it with `gunzip`")
    return _SUFFIXES[suffix]


def _check_header(path: Path) -> None:
    """Of two columns with one name a row would keep the last without a word.

    Raises:
        InputError: if the first line is blank or names a column twice.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        names = next(csv.reader(file), [])
    if not names:
        raise InputError(f"the first line of {path} is blank; expected the names of the columns")
    if double := next((name for name in names if name and names.count(name) > 1), None):
        raise InputError(f"the first line of {path} names column {double!r} twice; expected a name of its own for each column")


def read_csv(path: Path) -> Iterator[Record]:
    """Rows of a CSV file with a header; row 1 is the one below it."""
    csv.field_size_limit(2**31 - 1)
    number = 0
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            _check_utf8(reader.fieldnames or (), f"the first line of {path}")
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise InputError(
                        f"{records.place(number, path)} has {'more' if None in row else 'fewer'} values than the header's "
                        f"{len(reader.fieldnames or [])}; quote values that hold commas or line ends"
                    )
                _check_utf8(row.values(), records.place(number, path))
                yield dict(row)
        except csv.Error as error:
            raise InputError(f"{records.place(number + 1, path)} isn't valid CSV ({error})") from error
    if not number:
        raise InputError(f"{path} has a header and no rows; a dataset needs at least one row")


def _check_utf8(values: Iterable[str], place: str) -> None:
    """Refuses what was no UTF-8: such bytes are read as halves of surrogate pairs, so that the row they stand in can be named."""
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        byte = ord(error.object[error.start]) & 0xFF
        raise InputError(f"{place} isn't valid UTF-8 (byte 0x{byte:02x}); save the file as UTF-8") from error


def read_parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        if double := next((name for name in file.schema_arrow.names if file.schema_arrow.names.count(name) > 1), None):
            raise InputError(f"{path} has column {double!r} twice; expected a name of its own for each column")
        if not file.metadata.num_rows:
            raise InputError(f"{path} has no rows; a dataset needs at least one row")
        batches = (batch.to_pylist() for batch in file.iter_batches())
        yield from itertools.chain.from_iterable(batches)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} holds text that isn't valid UTF-8 ({error}); write it as UTF-8") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} isn't a readable Parquet file ({error})") from error


def _dataset(path: Path, split: str | None) -> Iterator[Record]:
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(path))
    except IndexError as error:  # of a dataset without rows there is no file with a table in it
        raise InputError(f"{path} has no rows; a dataset needs at least one row") from error
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} isn't a dataset that `save_to_disk` wrote ({error})") from error
    if isinstance(found, DatasetDict):
        if split not in found:
            raise InputError(f"{path} holds the splits {', '.join(found)}; set 'split' to one of them, not {split!r}")
        found = found[split]
    elif split is not None:
        raise InputError(f"{path} holds one split; leave 'split' out, which is {split!r}")
    if not len(found):
        raise InputError(f"{path} has no rows; a dataset needs at least one row")
    yield from found
