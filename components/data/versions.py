"""Dataset versions: the project's ``data/``, which ``data.dvc`` in git names, and private ones below the home.

A recipe whose data section says ``path: data`` uses the project's version as long as its settings are those that the
version was made from. With other settings, another source, or outside a DVC project the version is private: one folder
for each source, settings, files read and code, in a DVC workspace without git. Either way what is used has the md5 that
its ``.dvc`` file names.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.artifacts import DatasetRef
from components.config import MethodConfig
from components.data import checks, prepare, private
from components.data.checks import DATA
from components.data.tracked import Tracked, folder_md5
from components.data.workspace import Workspace
from components.errors import InputError, LapidarError
from components.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What ``build`` did.

    Attributes:
        changed: False if the version was there already, byte for byte.
        pushed: the remote that has it now.
        replaced: where the files went that stood in ``data/`` and were in no cache.
    """

    ref: DatasetRef
    changed: bool
    pushed: str | None = None
    replaced: Path | None = None


def ensure(source: MethodConfig, settings: Settings, project: Path) -> DatasetRef:
    """The version that a recipe's data section asks for: used as it is, pulled, or built.

    Raises:
        InputError: if source files or rows are wrong, or files don't match the md5 that their ``.dvc`` file names.
        LapidarError: if DVC fails.
    """
    source = prepare.pinned(source, settings)
    _finish(Workspace(project, settings))
    if (ref := find(source, settings, project)) is not None:
        return ref
    home = _project(source, settings, project)
    if home is not None:
        with home.locked():
            _restore(home, source)
        # pulled data says itself what it was made from, and that may be something else
        return checks.checked(home, DATA) if is_own(home, source) else ensure(source, settings, project)
    return private.ensure(source, settings)


def find(source: MethodConfig, settings: Settings, project: Path) -> DatasetRef | None:
    """The version if it is there and whole, or None if ``ensure`` would have to pull or build it. Writes nothing.

    Raises:
        InputError: if it is there and its files don't match the md5 that its ``.dvc`` file names.
    """
    source = prepare.pinned(source, settings)
    if _intent(Workspace(project, settings)).exists():
        return None  # a build was killed, or is at work: ``ensure`` finishes it, or waits
    if (home := _project(source, settings, project)) is not None:
        name, known = DATA, home.tracked(DATA)
    else:
        home, name = Workspace(settings.data, settings), private.name_of(source, settings)
        known = private.tracked(home, name)
    if known is None or not (home.root / name).is_dir():
        return None
    return checks.checked(home, name)


def build(source: MethodConfig, settings: Settings, project: Path) -> Built:
    """Makes a version: the project's, anew, where the source says ``path: data`` in a DVC project; else a private one.

    Raises:
        InputError: if source files or rows are wrong, or ``data`` is no folder of its own.
        LapidarError: if DVC fails, or the version is built and can't be pushed.
    """
    source = prepare.pinned(source, settings)
    if getattr(source, "path", None) is None or not (project / ".dvc").is_dir():
        before = find(source, settings, project)
        return Built(private.ensure(source, settings), before is None)
    if (place := project / DATA).is_symlink() or (place.exists() and not place.is_dir()):
        what = f"a link to {place.readlink()}" if place.is_symlink() else "a file"
        raise InputError(f"{place} is {what}, and a version is a folder that DVC replaces as a whole; move it away and build again")
    home, made_from = Workspace(project, settings), prepare.source_settings(source)
    with home.locked(), home.scratch() as part:
        prepare.build(source, part, settings)
        new, old = folder_md5(part), home.tracked(DATA)
        present = folder_md5(project / DATA) if (project / DATA).is_dir() else None
        replaced = None
        if present is None or present.md5 != new.md5:
            _intent(home).write_text(json.dumps({"md5": new.md5, "source": made_from}), encoding="utf-8")
            replaced = _set_aside(home, present)
            part.rename(project / DATA)
        if old is None or (old.md5, old.source) != (new.md5, made_from) or home.cached(new.md5) is None:
            home.track(DATA, made_from)
        _intent(home).unlink(missing_ok=True)
        return Built(checks.checked(home, DATA), old is None or old.md5 != new.md5, _push(home), replaced)


def _intent(home: Workspace) -> Path:
    """Says, while ``build`` swaps ``data/``, what it will be: so the next command can finish what a kill broke off."""
    return home.root / ".dvc" / "tmp" / "lapidar.building"


def _finish(home: Workspace) -> None:
    """Names the new ``data/`` in ``data.dvc`` if a build was killed in between, and takes away what is half restored."""
    if not _intent(home).exists():
        return
    with home.locked():
        try:
            meant = json.loads(_intent(home).read_bytes())
        except (OSError, ValueError):
            meant = {}
        folder, restoring = home.root / DATA, meant.get("restoring", False)
        whole = folder.is_dir() and folder_md5(folder).md5 == meant.get("md5")
        if whole and not restoring:
            home.track(DATA, meant["source"])
        elif restoring and not whole:
            shutil.rmtree(folder, ignore_errors=True)
        _intent(home).unlink(missing_ok=True)


def _project(source: MethodConfig, settings: Settings, project: Path) -> Workspace | None:
    """The project's workspace, if the source's version is the one that ``data.dvc`` names there."""
    home = Workspace(project, settings)
    if getattr(source, "path", None) is None or not (project / ".dvc").is_dir() or home.tracked(DATA) is None:
        return None
    if is_own(home, source):
        return home
    log.info("the recipe's data settings aren't those of %s; using a private version", project / "data.dvc")
    return None


def is_own(home: Workspace, source: MethodConfig) -> bool:
    """Whether ``data.dvc`` names the version of this source; True as well if nothing says what it was made from.

    The files have the word where they match their md5: a killed build leaves them newer than the note in ``data.dvc``.
    """
    known = home.tracked(DATA)
    if known is None:
        return False
    made_from = known.source
    if (home.root / DATA).is_dir() and folder_md5(home.root / DATA).md5 == known.md5:
        made_from = _described(home.root / DATA) or made_from
    return made_from is None or _same(made_from, source)


def _same(made_from: dict[str, Any], source: MethodConfig) -> bool:
    """Whether recorded settings are a source's; settings that came later have their defaults."""
    try:
        recorded = type(source).model_validate(made_from)
    except ValidationError:
        return False
    return prepare.source_settings(recorded) == prepare.source_settings(source)


def _described(folder: Path) -> dict[str, Any] | None:
    try:
        source: dict[str, Any] | None = json.loads((folder / prepare.DATASET).read_bytes())["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return source


def _restore(home: Workspace, source: MethodConfig) -> None:
    """Brings back the project's missing ``data/``: from the cache or the remote, else by building the same again."""
    known = home.tracked(DATA)
    if known is None or (home.root / DATA).is_dir():
        return
    cached, remote = home.cached(known.md5) is not None, home.remote()
    if cached or remote is not None:
        _intent(home).write_text(json.dumps({"md5": known.md5, "restoring": True}), encoding="utf-8")
        try:
            home.run("checkout" if cached else "pull", "data.dvc")
            return
        except LapidarError as error:
            if cached:
                raise
            log.warning("data.dvc could not be pulled from %s, so it is built again: %s", remote, error)
            shutil.rmtree(home.root / DATA, ignore_errors=True)  # half a checkout; there was none before
        finally:
            _intent(home).unlink()
    with home.scratch() as part:
        prepare.build(source, part, home.settings)
        checks.compare(folder_md5(part), known, home.root / "data.dvc")
        part.rename(home.root / DATA)
    home.run("commit", "-f", "data.dvc")  # into the cache, so that a later push has it


def _set_aside(home: Workspace, present: Tracked | None) -> Path | None:
    """Removes ``data/``; what no cache holds is moved below the home instead."""
    folder = home.root / DATA
    if present is None:
        return None
    target = None
    if home.cached(present.md5) is None:
        target = home.settings.root / "replaced" / present.md5.removesuffix(".dir")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
        log.warning("data/ held files that are in no cache; they are in %s now", target)
    old = home.root / ".dvc" / "tmp" / "lapidar.old"
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)  # at once: a kill leaves all of data/ or nothing of it
    shutil.rmtree(old)
    return target


def _push(home: Workspace) -> str | None:
    """Pushes to the default remote, if there is one."""
    if (remote := home.remote()) is None:
        return None
    try:
        home.run("push", "data.dvc")
    except LapidarError as error:
        raise LapidarError(f"the version is built and kept here, but not pushed to {remote}: {error}; run `dvc push`") from error
    return remote
