"""Whether a version's files are those that its ``.dvc`` file names."""

from __future__ import annotations

from pathlib import Path

from components.artifacts import DatasetRef
from components.data import git, prepare
from components.data.tracked import Tracked, folder_md5
from components.data.workspace import Workspace
from components.errors import InputError

DATA = "data"


def checked(home: Workspace, name: str) -> DatasetRef:
    """The version of a folder.

    Raises:
        InputError: if its files don't match its ``.dvc`` file, naming both md5s and the remedy.
    """
    folder, known = home.root / name, home.tracked(name)
    if known is None or not _matches(home, name):
        found = folder_md5(folder).md5
        if name == DATA:
            remedy = "`dvc checkout data.dvc` brings those files back, `lapidar data build RECIPE` makes a new version"
        else:
            remedy = f"delete {folder} to have it built again"
        raise InputError(f"{folder} has md5 {found}, {folder}.dvc names {known.md5 if known else 'none'}; {remedy}")
    return DatasetRef(folder, known.md5, dict(prepare.read_splits(folder)), home.root, git.head(home.root))


def compare(built: Tracked, known: Tracked | None, file: Path) -> None:
    """Refuses a folder that was built again and isn't what ``file`` names.

    Raises:
        InputError: naming both md5s and the remedy.
    """
    if known is not None and built.md5 != known.md5:
        raise InputError(
            f"building the data again gives md5 {built.md5}, {file} names {known.md5}: the code or a file read has changed "
            "since; take the code of that version, get its files from a DVC remote (`dvc pull`), "
            "or make a new version with `lapidar data build RECIPE`"
        )


def _matches(home: Workspace, name: str) -> bool:
    """Whether a folder has the md5 that its ``.dvc`` file names; asked again under the lock, a build may be swapping it."""
    for attempt in (0, 1):
        known = home.tracked(name)
        if known is not None and folder_md5(home.root / name).md5 == known.md5:
            return True
        if attempt == 0:
            with home.locked():
                pass
    return False
