r"""Which packages a run was locked to: ``infra/requirements.lock`` as this repository has or had it, found by its sha256.

A run's record holds the digest only. Sample of a lock: ``torch==2.13.0 \`` and lines of hashes below it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from components.data import git

LOCK = "infra/requirements.lock"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pinned(project: Path, digest: str, revision: str | None = None) -> dict[str, str] | None:
    """Version by package of the lock with a sha256; None if neither the folder nor its git history has it.

    Args:
        project: the repository's root.
        revision: the commit where it should be, asked before the others.
    """
    for content in _candidates(project, revision):
        if content is not None and hashlib.sha256(content).hexdigest() == digest:
            return dict(_PINNED.findall(content.decode(errors="replace")))
    return None


def _candidates(project: Path, revision: str | None) -> Iterator[bytes | None]:
    file = project / LOCK
    yield file.read_bytes() if file.is_file() else None
    if revision:
        yield git.show(project, revision, LOCK)
    for commit in git.history(project, LOCK):
        yield git.show(project, commit.hash, LOCK)
