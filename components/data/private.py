"""Private versions: one folder for each source, settings, files read and code, in a DVC workspace below the home."""

from __future__ import annotations

import hashlib
import json
import shutil

from components import methods
from components.artifacts import DatasetRef
from components.config import MethodConfig
from components.data import checks, prepare
from components.data.tracked import folder_md5
from components.data.workspace import Workspace, disk_errors
from components.settings import Settings


def ensure(source: MethodConfig, settings: Settings) -> DatasetRef:
    """Builds a private version unless it is there."""
    settings.prepare()
    home, name = Workspace(settings.data, settings), name_of(source, settings)
    with disk_errors(home.root):
        home.root.mkdir(exist_ok=True)
    with home.locked():
        if not (home.root / ".dvc" / "config").exists():
            home.run("init", "--no-scm", "-f")
        known = home.tracked(name)
        if known is None or not (home.root / name).is_dir():
            shutil.rmtree(home.root / name, ignore_errors=True)  # without a .dvc file: left by a killed process
            with home.scratch() as part:
                prepare.build(source, part, settings)
                checks.compare(folder_md5(part), known, home.root / f"{name}.dvc")
                part.rename(home.root / name)
            home.track(name, prepare.source_settings(source))
        return checks.checked(home, name)


def name_of(source: MethodConfig, settings: Settings) -> str:
    """Names a version by all that decides its content."""
    parts = {
        "source": prepare.source_settings(source),
        "files": prepare.source_files(source, settings),
        "code": [methods.code_digest(m) for m in (f"{methods.SECTIONS['data']}.{source.method}", prepare.__name__)],
    }
    return f"{source.method}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]}"
