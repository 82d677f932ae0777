"""Which code and which packages a run used."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.settings import Settings
from components.store import file_sha256

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "infra" / "requirements.lock"
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")


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


def machine(settings: Settings) -> dict[str, Any]:
    """What of this machine may change the last bits of a result: processor, instructions that matter, threads."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    flags = set(found.get("flags", found.get("Features", "")).split())
    return {
        "cpu": found.get("model name", platform.machine()),
        "instructions": " ".join(flag for flag in _INSTRUCTIONS if flag in flags),
        "threads": settings.threads or os.cpu_count(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
