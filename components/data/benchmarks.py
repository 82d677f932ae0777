"""Stored benchmark data: one DVC version a benchmark in ``benchmarks/`` below the home, filled only when somebody asks for it.

``benchmarks/<name>/`` holds ``items.jsonl``, perhaps ``examples.jsonl``, and ``benchmark.json``; see
``components.benchmarks._stored``. What is used has the md5 that ``<name>.dvc`` names, and that md5 is in the stage's key.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components import methods
from components.artifacts import BenchmarkRef
from components.benchmarks._source import Hub, Source
from components.benchmarks._stored import ABOUT, EXAMPLES, ITEMS
from components.data import git, pinned, records, tables, veil
from components.data.records import Record
from components.data.tracked import folder_md5
from components.data.workspace import Workspace, disk_errors
from components.errors import InputError
from components.settings import Settings

Solved = tuple[Path, Iterable[Record]]
"""File of solved examples, for messages, and its rows."""


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        changed: False if the version was there already, byte for byte.
        size: items of the whole benchmark, where that is known.
    """

    ref: BenchmarkRef
    items: int
    examples: int
    changed: bool
    size: int | None


def source(name: str) -> Source:
    """What a benchmark's file says of its data.

    Raises:
        InputError: if there is no such benchmark, or it reads the recipe's held-out split.
    """
    module = methods.load("benchmark", name)
    if (found := getattr(module, "SOURCE", None)) is None:
        raise InputError(
            f"benchmark {name!r} has nothing to import: it reads the recipe's held-out split, or a file that its settings name"
        )
    return found  # type: ignore[no-any-return]


def find(name: str, settings: Settings) -> BenchmarkRef | None:
    """The stored version, or None if there is none.

    Raises:
        InputError: if its files don't match the md5 that its ``.dvc`` file names.
    """
    home = _home(settings)
    known, folder = home.tracked(name), home.root / name
    if known is None or not folder.is_dir():
        return None
    if (found := folder_md5(folder).md5) != known.md5:
        raise InputError(f"{folder} has md5 {found}, {folder}.dvc names {known.md5}; import the benchmark again")
    return BenchmarkRef(name, folder, known.md5)


def how(name: str, settings: Settings) -> str:
    """What somebody is told who lacks a benchmark's data."""
    about = source(name)
    gated = "; its authors ask not to put it in plain text anywhere" if about.protected else ""
    return (
        f"benchmark {name!r} has no data in {_home(settings).root}: get {about.about} and import it with "
        f"`lapidar data benchmark {name} --from PATH` ({about.licence}{gated})"
    )


def import_files(name: str, items: Path, examples: Path | None, split: str | None, settings: Settings) -> Imported:
    """Makes a version of files that somebody has.

    Raises:
        InputError: naming file, row and field.
    """
    found = source(name)
    for path in (items, examples):
        if found.protected and path is not None and path.exists() and git.would_commit(path):
            raise InputError(
                f"{path} holds {name} in plain text and lies in a git repository that doesn't ignore it; its authors ask to keep "
                "it out: move it somewhere else and import it from there"
            )
    pair = (examples, tables.read(examples)) if examples is not None else None
    return store(name, found, items, tables.read(items, split), pair, settings)


def fetch(name: str, revision: str | None, settings: Settings) -> Imported:
    """Makes a version of what the hub has at one commit. The only place that fetches a benchmark, and only when asked to.

    Raises:
        InputError: if the benchmark isn't there, its commit isn't named, or the hub can't be reached.
    """
    found = source(name)
    if (hub := found.hub) is None:
        raise InputError(f"benchmark {name!r} isn't on the hub; get {found.about} and give its path with --from PATH")
    commit = revision or hub.revision
    if commit is None or not re.fullmatch("[0-9a-f]{40}", commit):
        where = f"https://huggingface.co/datasets/{hub.id}/commits/main"
        raise InputError(f"{hub.id} needs --revision, 40 hex digits, as a branch would move; its commits: {where}")
    given = Path(f"{hub.id}@{commit}")
    rows = _hub_rows(hub, hub.split, commit, settings)
    pair = (given, _hub_rows(hub, hub.examples, commit, settings)) if hub.examples else None
    return store(name, found, given, rows, pair, settings)


def _hub_rows(hub: Hub, split: str, commit: str, settings: Settings) -> list[Record]:
    try:
        table = pinned.fetch(hub.id, hub.config, split, commit, settings)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{hub.id}@{commit[:12]} ({split}) could not be fetched ({type(error).__name__}); it needs a network, and HF_TOKEN "
            "where terms have to be accepted; or give a file with --from PATH"
        ) from error
    return [dict(row) for row in table]


def store(name: str, found: Source, given: Path, rows: Iterable[Record], solved: Solved | None, settings: Settings) -> Imported:
    """Normalises rows, checks them and makes them the benchmark's version.

    Args:
        name: of the folder.
        given: file that the rows come from, for messages and the record.
        solved: the same for solved examples.

    Raises:
        InputError: naming file, row and field.
    """
    settings.prepare()
    made = made_of(name, found, rows, given, solved)
    home = _home(settings)
    with disk_errors(home.root):
        home.root.mkdir(exist_ok=True)
    with home.locked():
        if not (home.root / ".dvc" / "config").exists():
            home.run("init", "--no-scm", "-f")
        with home.scratch() as part:
            record = lay_out(part, name, made, found, given)
            before, now = home.tracked(name), folder_md5(part)
            if not (changed := before is None or before.md5 != now.md5 or not (home.root / name).is_dir()):
                part = home.root / name
            else:
                shutil.rmtree(home.root / name, ignore_errors=True)
                part.rename(home.root / name)
                home.track(name, record)
        ref = BenchmarkRef(name, home.root / name, now.md5)
    return Imported(ref, len(made[ITEMS]), len(made.get(EXAMPLES, [])), changed, found.size)


def made_of(name: str, found: Source, rows: Iterable[Record], given: Path, solved: Solved | None) -> dict[str, list[Record]]:
    """Items, and examples if there are any, by file."""
    made = {ITEMS: _items(name, rows, given, found.item)}
    if solved is not None:
        made[EXAMPLES] = _items(name, solved[1], solved[0], found.example or found.item)
    return made


def lay_out(folder: Path, name: str, made: Mapping[str, Sequence[Record]], found: Source, given: Path) -> dict[str, Any]:
    """Writes a version's files; returns what its record says."""
    for file, rows in made.items():
        _write(folder / file, rows, found.protected)
    counts = {Path(file).stem: len(rows) for file, rows in made.items()}
    record = {"name": name, **counts, "from": given.name, "licence": found.licence, "size": found.size}
    (folder / ABOUT).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return record


def _items(name: str, rows: Iterable[Record], path: Path, item: Any) -> list[Record]:
    found: list[Record] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        place = records.place(number, path)
        try:
            made = item(row)
        except KeyError as error:
            have = ", ".join(row) or "nothing"
            raise InputError(f"{place} has no {error.args[0]!r}; every row needs it, this one has {have}") from error
        except ValueError as error:
            raise InputError(f"{place}: {error}") from error
        if half := _half_character(made):
            raise InputError(f"{place}: {half!r} holds half a surrogate pair; write the character itself as UTF-8")
        made = {**made, "id": str(number if made["id"] is None else made["id"])}
        first = seen.setdefault(made["id"], number)
        if first != number:
            raise InputError(f"{place} repeats id {made['id']!r} of row {first}; items are told apart by their ids")
        found.append(made)
    if not found:
        raise InputError(f"{path} has no rows; {name} needs at least one item")
    return found


def _half_character(value: Any, name: str = "") -> str | None:
    """The name of a field whose text can't be written as UTF-8."""
    if isinstance(value, str):
        return name if value.encode("utf-8", "replace").decode() != value else None
    inside = value.items() if isinstance(value, dict) else ((name, each) for each in value) if isinstance(value, list) else ()
    return next((found for key, each in inside if (found := _half_character(each, name or str(key)))), None)


def _write(path: Path, rows: Sequence[Record], protected: bool) -> None:
    records.write(path, rows)
    if protected:
        path.with_name(path.name + veil.SUFFIX).write_bytes(veil.veil(path.read_bytes()))
        path.unlink()


def _home(settings: Settings) -> Workspace:
    return Workspace(settings.root / "benchmarks", settings)


def dump(imported: Imported) -> dict[str, Any]:
    """JSON-ready."""
    return {**asdict(imported), "ref": {**asdict(imported.ref), "path": str(imported.ref.path)}}
