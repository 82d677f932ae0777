"""What git says about a project: its revision, and the versions of a file. Reads only."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """One commit: full hash, ISO date, first line of the message."""

    hash: str
    date: str
    subject: str


def head(folder: Path) -> str | None:
    """The revision that is checked out (40 hex digits), or None outside git and before the first commit.

    A folder inside somebody's repository isn't that repository: only its root counts.
    """
    if not (folder / ".git").exists():
        return None
    found = _git(folder, "rev-parse", "--verify", "-q", "HEAD")
    return found.decode().strip() if found is not None else None


def history(folder: Path, name: str, limit: int = 100) -> list[Commit]:
    """Commits that changed a file, the newest first."""
    if not (folder / ".git").exists():
        return []
    found = _git(folder, "log", f"--max-count={limit}", "--format=%H%x1f%cI%x1f%s", "--", name) or b""
    return [Commit(*line.split("\x1f", 2)) for line in found.decode(errors="replace").split("\n") if line]


def show(folder: Path, revision: str, name: str) -> bytes | None:
    """A file's content at a revision, or None if there is no such revision or file."""
    if revision.startswith("-") or not (folder / ".git").exists():
        return None
    return _git(folder, "show", f"{revision}:./{name}")


def would_commit(path: Path) -> bool:
    """Whether a file lies in a work tree that doesn't ignore it, so that the next ``git add`` takes it in."""
    folder = path.absolute().parent
    if not folder.is_dir() or (_git(folder, "rev-parse", "--is-inside-work-tree") or b"").strip() != b"true":
        return False
    return _git(folder, "check-ignore", "-q", str(path.absolute())) is None


def _git(folder: Path, *arguments: str) -> bytes | None:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, stdin=subprocess.DEVNULL)
    return done.stdout if done.returncode == 0 else None
