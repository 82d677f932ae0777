"""Which code and which packages a run used."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.store import file_sha256

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "infra" / "requirements.lock"


@dataclass(frozen=True)
class Code:
    """State of the code's repository.

    Attributes:
        revision: git commit, None outside git.
        clean: whether the work tree is as committed; None outside git.
        lock: sha256 of the lock file of the packages, None where there is none.

    """

    revision: str | None
    clean: bool | None
    lock: str | None


@cache
def code() -> Code:
    """The code that runs now."""
    revision = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain") if revision else None
    return Code(revision, None if status is None else not status, file_sha256(LOCK) if LOCK.is_file() else None)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
