"""Lists dataset versions, and says what changed between two of them: rows added, removed and changed, by id."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from components.data import git, prepare, records
from components.data.checks import DATA
from components.data.records import Record
from components.data.tracked import Tracked, folder_md5, parse
from components.data.workspace import Workspace
from components.errors import InputError, LapidarError
from components.settings import Settings

Kind = Literal["added", "removed", "changed"]
KINDS: tuple[Kind, ...] = ("added", "removed", "changed")
_SAMPLES = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """One version that git or DVC knows.

    Attributes:
        name: what ``diff`` takes: 12 digits of the commit, ``workspace``, or a private version's folder.
        date: of the commit, ISO 8601.
        cached: whether its content is on this machine.
        method: data source that made it.
    """

    name: str
    where: Literal["workspace", "git", "private"]
    md5: str
    size: int
    files: int
    cached: bool
    method: str | None = None
    date: str | None = None
    subject: str | None = None

    def dump(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """One row that isn't the same in two versions: as it was and as it is; None where a version hasn't it."""

    id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def versions(settings: Settings, project: Path) -> list[Version]:
    """The project's ``data/``, the commits that changed ``data.dvc`` (newest first), and the private versions."""
    home, private = Workspace(project, settings), Workspace(settings.data, settings)
    found = []
    if (project / DATA).is_dir() and (project / ".dvc").is_dir():
        found.append(_version("workspace", "workspace", folder_md5(project / DATA), True))
    for commit in git.history(project, "data.dvc"):
        content = git.show(project, commit.hash, "data.dvc")
        if content is None:  # a commit may have removed the file
            continue
        if (known := _parsed(content, f"data.dvc of {commit.hash[:12]}")) is not None:
            cached = home.cached(known.md5) is not None
            found.append(_version(commit.hash[:12], "git", known, cached, commit.date, commit.subject))
    for path in sorted(settings.data.glob("[!.]*.dvc")) if settings.data.is_dir() else []:
        if (known := _parsed(path.read_bytes(), str(path))) is None:
            continue
        cached = path.with_suffix("").is_dir() or private.cached(known.md5) is not None
        found.append(_version(path.stem, "private", known, cached))
    return found


def diff(first: str, second: str, settings: Settings, project: Path) -> dict[str, Any]:
    """What changed from one version to the other.

    Args:
        first: ``workspace``, a git revision, a private version's name, or an md5's beginning (4 digits or more).
        second: the same.
        settings: where private versions are.
        project: where ``data.dvc`` is.

    Returns:
        ``{"a": …, "b": …, "splits": {split: {"added": n, "removed": n, "changed": n, "unchanged": n, "samples": {…}}}}``.

    Raises:
        InputError: if a name is unknown or ambiguous, or its content isn't on this machine and no remote has it.
    """
    with content(first, settings, project) as (a, before), content(second, settings, project) as (b, after):
        names = [n for n in prepare.SPLITS if f"{n}.jsonl" in before or f"{n}.jsonl" in after]
        splits = {n: _rows_changed(before.get(f"{n}.jsonl"), after.get(f"{n}.jsonl")) for n in names}
        return {"a": {"name": first, "md5": a}, "b": {"name": second, "md5": b}, "splits": splits}


def rows(
    first: str, second: str, split: str, kind: Kind, settings: Settings, project: Path, offset: int = 0, limit: int = 10
) -> list[Change]:
    """Some of the rows that ``diff`` counts, in their order in the file: added and changed ones as in the second version.

    Raises:
        InputError: as ``diff`` does.
    """
    with content(first, settings, project) as (_, before), content(second, settings, project) as (_, after):
        old, new = before.get(f"{split}.jsonl"), after.get(f"{split}.jsonl")
        wanted = _compared(old, new)[kind][offset : offset + limit]
        was, now = _picked(old, wanted), _picked(new, wanted)
        return [Change(name, was.get(name), now.get(name)) for name in wanted]


def _parsed(content: bytes, place: str) -> Tracked | None:
    """What a ``.dvc`` file names; of a broken one it is said that it is left out."""
    try:
        return parse(content, place)
    except InputError as error:
        log.warning("left out: %s", error)
        return None


def _version(
    name: str,
    where: Literal["workspace", "git", "private"],
    known: Tracked,
    cached: bool,
    date: str | None = None,
    subject: str | None = None,
) -> Version:
    method = (known.source or {}).get("method")
    return Version(name, where, known.md5, known.size, known.files, cached, method, date, subject)


@contextmanager
def content(name: str, settings: Settings, project: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """(md5, files by name) of a version; fetched into a temporary folder where only a remote has it."""
    home, private = Workspace(project, settings), Workspace(settings.data, settings)
    md5, revision = _resolve(name, settings, project)
    for folder in [project / DATA] if name == "workspace" else [settings.data / name, project / DATA]:
        if folder.is_dir() and (name == "workspace" or folder_md5(folder).md5 == md5):
            yield md5, {path.name: path for path in folder.iterdir()}
            return
    files = home.cached(md5) or private.cached(md5)
    if files is not None:
        yield md5, files
        return
    if revision is None or home.remote() is None:
        raise InputError(f"version {name} (md5 {md5}) isn't on this machine, and no remote is set; build it or set a remote")
    settings.prepare()
    with tempfile.TemporaryDirectory(dir=settings.root) as scratch:
        try:
            with home.locked():
                home.run("get", ".", DATA, "--rev", revision, "-o", f"{scratch}/{DATA}")
        except LapidarError as error:
            raise InputError(f"version {name} (md5 {md5}) can't be fetched from {home.remote()}: {error}") from error
        yield md5, {path.name: path for path in (Path(scratch) / DATA).iterdir()}


def _resolve(name: str, settings: Settings, project: Path) -> tuple[str, str | None]:
    """(md5, git revision or None) of a version's name."""
    known = versions(settings, project)
    exact = [v for v in known if v.where != "git" and v.name == name]
    if exact:
        return exact[0].md5, None
    if re.fullmatch(r"[0-9a-f]{4,32}(\.dir)?", name):
        by_md5 = {v.md5: v.name if v.where == "git" else None for v in known if v.md5.startswith(name)}
        if len(by_md5) == 1:
            return next(iter(by_md5.items()))
        if by_md5:
            raise InputError(f"{name!r} begins several md5s: {', '.join(sorted(by_md5))}; write more digits")
    content = git.show(project, name, "data.dvc")
    if content is not None:
        return parse(content, f"data.dvc of {name}").md5, name
    names = ", ".join(v.name for v in known) or "none yet"
    raise InputError(f"no dataset version {name!r}: neither 'workspace', a git revision with data.dvc, nor an md5; known: {names}")


def _rows_changed(before: Path | None, after: Path | None) -> dict[str, Any]:
    found = _compared(before, after)
    files: dict[Kind, Path | None] = {"added": after, "removed": before, "changed": after}
    samples = {kind: list(_picked(files[kind], found[kind][:_SAMPLES]).values()) for kind in KINDS}
    return {**{kind: len(found[kind]) for kind in KINDS}, "unchanged": len(found["unchanged"]), "samples": samples}


def _compared(before: Path | None, after: Path | None) -> dict[str, list[str]]:
    """Ids by what became of their row."""
    old, new = _digests(before), _digests(after)
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "unchanged": [name for name in new if old.get(name) == new[name]],
    }


def _digests(path: Path | None) -> dict[str, bytes]:
    """Hash of each row by id."""
    if path is None:
        return {}
    return {name: digest for name, digest, _ in _named(path)}


def _named(path: Path) -> Iterator[tuple[str, bytes, Record]]:
    """(id, hash, row): what others wrote may have rows without an id, named by their hash, and ids that stand several times."""
    seen = Counter[str]()
    for row in records.read(path):
        digest = hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=16)
        name = digest.hexdigest() if row.get("id") is None else str(row["id"])
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})", digest.digest(), row


def _picked(path: Path | None, ids: list[str]) -> dict[str, Record]:
    """Some rows by id."""
    wanted = set(ids)
    return {name: row for name, _, row in _named(path) if name in wanted} if path is not None and wanted else {}
