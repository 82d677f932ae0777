"""From a source to a dataset version: build, check every row, drop duplicates and leaks, write ``dataset.json``.

Sample of ``dataset.json``::

    {"format": 1, "source": {"method": "wordproblems", "seed": 0, …}, "files": {}, "notes": {},
     "splits": {"sft": {"kind": "sft", "rows": 3000, "sha256": "…", "duplicates": 0, "leaked": 0}, …}}

It holds no time and no path of the machine, so building again gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from components import methods
from components.artifacts import RecordKind, Split, SplitName
from components.config import MethodConfig
from components.data import records
from components.data.records import Record
from components.data.separate import HeldOut, asked, identity, row_id
from components.data.sources._base import NOTES
from components.errors import InputError, LapidarError
from components.settings import Settings
from components.store import file_sha256

DATASET = "dataset.json"
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
KINDS: dict[str, RecordKind] = {
    "corpus": "text",
    "sft": "sft",
    "preference": "preference",
    "labelled": "labelled",
    "prompts": "prompts",
}
log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What happened to a split's rows.

    Attributes:
        longer, shorter: preference rows whose chosen answer is the longer, the shorter one (in characters).
    """

    read: int = 0
    rows: int = 0
    duplicates: int = 0
    leaked: int = 0
    longer: int = 0
    shorter: int = 0
    ids: set[str] = field(default_factory=set)
    seen: set[bytes] = field(default_factory=set)


def source_settings(config: MethodConfig) -> dict[str, Any]:
    """What decides a source's content: its resolved config, without where the version is kept."""
    return config.model_dump(mode="json", exclude={"path"})


def source_files(config: MethodConfig, settings: Settings) -> dict[str, str]:
    """sha256 by name of the files that a source reads.

    Raises:
        InputError: if one is missing, empty or a Git LFS pointer.
    """
    module = methods.load("data", config.method)
    paths: dict[str, Path] = module.files(config, settings) if hasattr(module, "files") else {}
    for path in paths.values():
        records.refuse_pointer(path)
    return {name: file_sha256(path) for name, path in sorted(paths.items())}


def pinned(config: MethodConfig, settings: Settings) -> MethodConfig:
    """A source's config that always means the same rows: where it would read what changes, it names what it reads."""
    module = methods.load("data", config.method)
    found: MethodConfig = module.pin(config, settings) if hasattr(module, "pin") else config
    return found


def build(config: MethodConfig, out: Path, settings: Settings) -> dict[str, Any]:
    """Writes a dataset version into ``out``, which is empty or absent, and returns the content of ``dataset.json``.

    Raises:
        InputError: if a source file is missing or wrong, a row has the wrong shape, or a split ends up empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = source_files(config, settings)
    methods.load("data", config.method).build(config, out, settings)
    notes = json.loads((out / NOTES).read_bytes()) if (out / NOTES).exists() else {}
    (out / NOTES).unlink(missing_ok=True)
    splits: dict[str, Any] = {}
    held = None
    for name in sorted(split_names(out), key=lambda name: name != "heldout"):
        kind = kind_of(out, name)
        counts = _clean(out / f"{name}.jsonl", kind, held if name != "heldout" else None)
        splits[name] = _entry(out, name, kind, counts)
        if name == "heldout":
            held = held_out(out, kind)
    if not splits:
        raise LapidarError(f"data source {config.method} wrote no split; expected one of {', '.join(SPLITS)}")
    described = {"format": 1, "source": source_settings(config), "files": files, "notes": notes, "splits": splits}
    (out / DATASET).write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return described


def split_names(folder: Path) -> list[SplitName]:
    """The splits that a folder holds, in their usual order.

    Raises:
        LapidarError: if a JSON Lines file is no split.
    """
    found = {path.stem for path in folder.glob("*.jsonl")}
    if unknown := sorted(found - set(SPLITS)):
        raise LapidarError(f"{folder / unknown[0]}.jsonl is no split; splits are {', '.join(SPLITS)}")
    return [name for name in SPLITS if name in found]


def kind_of(folder: Path, name: str) -> RecordKind:
    """The record kind of a split; what is held out says it by its first row's fields."""
    if name in KINDS:
        return KINDS[name]
    first = next(records.read(folder / f"{name}.jsonl"))
    if "chosen" in first or "rejected" in first:
        return "preference"
    return "text" if "text" in first and "prompt" not in first else "prompts"


def held_out(folder: Path, kind: RecordKind) -> HeldOut:
    """The held-out prompts of a dataset folder."""
    return HeldOut.of(text for row in records.read(folder / "heldout.jsonl", kind) for text in asked(row, kind))


def read_splits(folder: Path) -> dict[str, Split]:
    """The splits of a dataset version, as its ``dataset.json`` describes them.

    Raises:
        InputError: if it has none or it isn't readable.
    """
    try:
        entries = json.loads((folder / DATASET).read_bytes())["splits"]
        return {name: Split(name, e["kind"], e["rows"], e["sha256"]) for name, e in entries.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / DATASET} doesn't describe a dataset ({error}); run `lapidar data build`") from error


def _clean(path: Path, kind: RecordKind, held: HeldOut | None) -> Counts:
    """Rewrites a split without duplicates and leaks, every row with an id of its own, the id first."""
    counts = Counts()
    part = path.with_suffix(".part")
    counts.rows = records.write(part, _kept(records.read(path, kind), kind, held, counts, path))
    part.replace(path)
    if not counts.rows:
        raise InputError(
            f"split {path.stem} has no row left: {counts.read} read, {counts.duplicates} duplicates, "
            f"{counts.leaked} that hold a held-out item; bring other rows or fewer held-out ones"
        )
    if counts.leaked:
        log.warning("%s: dropped %d rows that hold a held-out item", path.stem, counts.leaked)
    return counts


def _kept(rows: Iterable[Record], kind: RecordKind, held: HeldOut | None, counts: Counts, path: Path) -> Iterator[Record]:
    for row in rows:
        counts.read += 1
        digest = hashlib.blake2b(identity(row, kind).encode(), digest_size=16).digest()
        if digest in counts.seen:
            counts.duplicates += 1
            continue
        counts.seen.add(digest)
        if held is not None and held.leaks_into(row, kind):
            counts.leaked += 1
            continue
        if kind == "preference":
            counts.longer += len(row["chosen"]) > len(row["rejected"])
            counts.shorter += len(row["chosen"]) < len(row["rejected"])
        yield {"id": _id(row, kind, counts, path), **{key: value for key, value in row.items() if key != "id"}}


def _id(row: Record, kind: RecordKind, counts: Counts, path: Path) -> str:
    """The row's own id, or one from what it asks, numbered where several rows ask the same."""
    if (given := row.get("id")) is not None:
        name = str(given)
        if name in counts.ids:
            raise InputError(f"{records.place(counts.read, path)} repeats id {name!r}; ids are unique within a split")
    else:
        base = name = row_id(row, kind)
        number = 1
        while name in counts.ids:
            number += 1
            name = f"{base}-{number}"
    counts.ids.add(name)
    return name


def _entry(folder: Path, name: str, kind: RecordKind, counts: Counts) -> dict[str, Any]:
    """A split's line in ``dataset.json``; for preferences with the accuracy of "prefer the longer", "the shorter"."""
    entry: dict[str, Any] = {"kind": kind, "rows": counts.rows, "sha256": file_sha256(folder / f"{name}.jsonl")}
    entry |= {"duplicates": counts.duplicates, "leaked": counts.leaked}
    if kind == "preference":
        shares = {"longer": counts.longer / counts.rows, "shorter": counts.shorter / counts.rows}
        entry["length_baseline"] = {key: round(value, 4) for key, value in shares.items()}
    return entry


def validate(folder: Path) -> None:
    """Checks a dataset version again: every row's shape, digests and counts, duplicates, held-out rows in training.

    Raises:
        InputError: naming the first row, or the split, that is wrong.
    """
    splits = read_splits(folder)
    held = held_out(folder, splits["heldout"].kind) if "heldout" in splits else None
    for name, split in splits.items():
        path = folder / f"{name}.jsonl"
        seen: dict[str, int] = {}
        number = 0
        for number, row in enumerate(records.read(path, split.kind), 1):
            if (first := seen.setdefault(identity(row, split.kind), number)) != number:
                raise InputError(f"{records.place(number, path)} repeats row {first}; run `lapidar data build RECIPE`")
            if held is not None and name != "heldout" and held.leaks_into(row, split.kind):
                raise InputError(f"{records.place(number, path)} holds a held-out item; run `lapidar data build RECIPE`")
        if number != split.rows or file_sha256(path) != split.sha256:
            raise InputError(f"{path} isn't what {DATASET} describes ({split.rows} rows); run `lapidar data build RECIPE`")
