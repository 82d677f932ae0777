"""A corpus as a stream of blocks of rows: JSON Lines and text (also gzip), CSV, Parquet, JSON arrays, folders of them.

A reader cuts a file into blocks of lines without looking into them; whoever takes a block finds its rows and their texts. So the
heavy part happens beside the reader, and memory holds a few blocks whatever the corpus' size. Rows are counted as lines, from 1;
a text file is cut at blank lines into pages, and a page's row is its first line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.contamination.items import Block
from components.data import records
from components.data.sources.files import read_csv, read_parquet
from components.errors import InputError

BLOCK_BYTES = 2 << 20
_PAGE_LINES = 20
_LARGEST = 64
_SUFFIXES = {".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".txt", ".md", ".text"}
_NAMES = ("id", "idx", "task_id", "question_id")
"""Fields that name a row and say nothing."""
_TEXT = {".txt", ".md", ".text"}


class Broken(InputError):
    """A file breaks off; its rows so far are whole. The message goes on behind the file's name."""


@dataclass(frozen=True)
class Source:
    """One file of a corpus.

    Attributes:
        name: how matches name it.
        split: dataset split that it is, or empty.
    """

    path: Path
    name: str
    split: str = ""

    @property
    def kind(self) -> str:
        """Its suffix, without that of gzip."""
        path = Path(self.name.removesuffix(".gz"))
        return path.suffix.lower()


@dataclass(frozen=True)
class Raw:
    """A block of a file as it was read."""

    data: bytes
    kind: Literal["json", "text"]


@dataclass(frozen=True)
class Parsed:
    """A block's rows, up to the first that is wrong.

    Attributes:
        numbers: line of each row in the block, from 0.
        lines: lines of the block.
        problem: what is wrong with the row behind the last, or None; ``at`` is its line.
    """

    block: Block
    numbers: list[int]
    lines: int
    problem: str | None = None
    at: int = 0


def sources(path: Path) -> list[Source]:
    """The files of a corpus: a file, a dataset version's training splits, or a folder's files in the order of their names.

    Raises:
        InputError: if there is nothing that can be read.
    """
    if path.is_file():
        return [_known(Source(path, path.name))]
    if not path.is_dir():
        raise InputError(f"no corpus {path} (looked from {Path.cwd()}); give a file, a folder or models:/NAME/VERSION")
    if (path / "dataset.json").is_file():
        splits = sorted(json.loads((path / "dataset.json").read_bytes())["splits"])
        return [Source(path / f"{name}.jsonl", f"{name}.jsonl", name) for name in splits if name != "heldout"]
    files = [Source(file, str(file.relative_to(path))) for file in sorted(path.rglob("*")) if file.is_file()]
    found = [source for source in files if source.kind in _SUFFIXES]
    if not found:
        raise InputError(
            f"{path} holds no corpus: none of its {len(files)} files is .jsonl, .json, .csv, .parquet or .txt (or .gz)"
        )
    return found


def _known(source: Source) -> Source:
    if source.kind not in _SUFFIXES:
        raise InputError(f"{source.path}: a corpus is .jsonl, .json, .csv, .parquet or .txt, the first and last also with .gz")
    return source


def blocks(source: Source, size: int = BLOCK_BYTES) -> Iterator[Raw]:
    """A file's blocks in order, each about ``size`` bytes of whole lines.

    Raises:
        InputError: if the file is missing, empty or a pointer, or breaks off.
    """
    records.refuse_pointer(source.path)
    if source.kind == ".csv":
        yield from _rows(read_csv(source.path), size)
    elif source.kind == ".parquet":
        yield from _rows(read_parquet(source.path), size)
    elif source.kind == ".json" and (array := _array(source.path)) is not None:
        yield from _rows(iter(array), size)
    else:
        kind: Literal["json", "text"] = "text" if source.kind in _TEXT else "json"
        yield from _cut(source.path, kind, size)


def _cut(path: Path, kind: Literal["json", "text"], size: int) -> Iterator[Raw]:
    """Blocks that end with a line; those of a text end with a blank line where there is one."""
    end, rest = b"\n\n" if kind == "text" else b"\n", b""
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        file: Any = gzip.GzipFile(fileobj=plain) if packed else plain
        while True:
            try:
                read = file.read1(size)  # gzip: what is there before the file breaks off, not an error in its place
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                if whole := rest[: rest.rfind(b"\n") + 1]:
                    yield Raw(whole, kind)
                raise Broken(f"isn't a whole gzip file ({error}); fetch it again") from error
            rest += read
            if not read:
                break
            if len(rest) < size:
                continue
            place = rest.rfind(end)
            if place < 0 and kind == "text" and len(rest) > size:
                place = rest.rfind(b"\n")
            if place >= 0:
                yield Raw(rest[: place + len(end)], kind)
                rest = rest[place + len(end) :]
            elif len(rest) > _LARGEST * size:
                raise Broken(f"has a line of more than {_LARGEST * size >> 20} MB; one row a line is expected")
    if rest:
        yield Raw(rest, kind)


def _array(path: Path) -> list[Any] | None:
    """The rows of a file that is one JSON array; None if it is JSON Lines."""
    with path.open("rb") as file:
        if file.read(64).lstrip()[:1] != b"[":
            return None
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, UnicodeDecodeError) as error:
        raise Broken(f"isn't a whole JSON array ({error}); fetch it again") from error
    return list(found)


def _rows(rows: Iterator[Any], size: int) -> Iterator[Raw]:
    """Rows of a table as JSON Lines."""
    lines, length = [], 0
    try:
        for row in rows:
            lines.append(json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n")
            length += len(lines[-1])
            if length >= size:
                yield Raw(b"".join(lines), "json")
                lines, length = [], 0
    finally:
        if lines:
            yield Raw(b"".join(lines), "json")


def parse(raw: Raw, fields: Sequence[str] = ()) -> Parsed:
    """The rows of a block.

    Args:
        fields: whose texts count; none takes every text of a row.
    """
    if raw.kind == "text":
        return _pages(raw.data)
    rows: list[list[str]] = []
    numbers: list[int] = []
    lines = raw.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            texts = _texts(json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line), fields)
        except UnicodeDecodeError as error:
            return Parsed(Block(rows), numbers, len(lines), _not_utf8(error), number)
        except InputError as error:
            return Parsed(Block(rows), numbers, len(lines), str(error), number)
        except (ValueError, RecursionError) as error:
            return Parsed(Block(rows), numbers, len(lines), f"isn't valid JSON ({error}); expected one value a line", number)
        rows.append(texts)
        numbers.append(number)
    return Parsed(Block(rows), numbers, len(lines))


def _pages(data: bytes) -> Parsed:
    """A text's paragraphs, joined to pages of some lines."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    rows: list[list[str]] = []
    numbers: list[int] = []
    start = 0
    for number, line in enumerate(lines):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return Parsed(Block(rows), numbers, len(lines), _not_utf8(error), number)
        last = number + 1 == len(lines)
        if last or (number - start >= _PAGE_LINES and not line.strip()):
            text = b"\n".join(lines[start : number + 1]).decode("utf-8")
            if text.strip():
                rows.append([text])
                numbers.append(start)
            start = number + 1
    return Parsed(Block(rows), numbers, len(lines))


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"isn't valid UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start}); save the file as UTF-8"


def _texts(row: Any, fields: Sequence[str]) -> list[str]:
    """The texts of a row, in their order."""
    if fields:
        if not isinstance(row, dict):
            raise InputError(f"is {type(row).__name__}, not an object with {', '.join(fields)}; leave the fields out")
        if missing := [name for name in fields if name not in row]:
            raise InputError(f"has no {missing[0]!r}, only {', '.join(map(str, row))}; correct the corpus fields")
        row = [row[name] for name in fields]
    elif isinstance(row, dict):
        row = {name: value for name, value in row.items() if name not in _NAMES}
    found: list[str] = []
    _collect(row, found)
    if not found:
        raise InputError("holds no text")
    return found


def _collect(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, dict):
        for inside in value.values():
            _collect(inside, found)
    elif isinstance(value, list):
        for inside in value:
            _collect(inside, found)
