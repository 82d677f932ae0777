"""Private versions: one folder for each source, settings, files read and code, in a DVC workspace below the home."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil

from components import methods
from components.artifacts import DatasetRef
from components.config import MethodConfig
from components.data import checks, prepare
from components.data.tracked import Tracked, folder_md5
from components.data.workspace import Workspace, disk_errors
from components.errors import InputError
from components.settings import Settings

log = logging.getLogger(__name__)


def ensure(source: MethodConfig, settings: Settings) -> DatasetRef:
    """Builds a private version unless it is there."""
    settings.prepare()
    home, name = Workspace(settings.data, settings), name_of(source, settings)
    with disk_errors(home.root):
        home.root.mkdir(exist_ok=True)
    with home.locked():
        if not (home.root / ".dvc" / "config").exists():
            home.run("init", "--no-scm", "-f")
        known = tracked(home, name)
        if known is None or not (home.root / name).is_dir():
            shutil.rmtree(home.root / name, ignore_errors=True)  # without a .dvc file: left by a killed process
            if known is None:
                (home.root / f"{name}.dvc").unlink(missing_ok=True)
            with home.scratch() as part:
                prepare.build(source, part, settings)
                checks.compare(folder_md5(part), known, home.root / f"{name}.dvc")
                part.rename(home.root / name)
            home.track(name, prepare.source_settings(source))
        return checks.checked(home, name)


def tracked(home: Workspace, name: str) -> Tracked | None:
    """What a version's ``.dvc`` file names; a torn one names nothing: a kill left it, and the version is made again."""
    try:
        return home.tracked(name)
    except InputError as error:
        log.warning("made again: %s", error)
        return None


def name_of(source: MethodConfig, settings: Settings) -> str:
    """Names a version by all that decides its content."""
    parts = {
        "source": prepare.source_settings(source),
        "files": prepare.source_files(source, settings),
        "code": [methods.code_digest(m) for m in (f"{methods.SECTIONS['data']}.{source.method}", prepare.__name__)],
    }
    return f"{source.method}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]}"
