"""A DVC workspace: the only place that runs DVC, always as ``python -m dvc`` and under a lock of our own.

DVC's ``.dvc/tmp/rwlock`` is rewritten in place and finds stale holders by process id alone, so one process at a time works
in a workspace. The lock is a ``flock``, which the kernel releases; a running DVC inherits it, so that the death of its
parent doesn't let another in. DVC's settings of the machine and its shared cache of pickles are kept out.
"""

from __future__ import annotations

import configparser
import errno
import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from components.data.tracked import Tracked, parse
from components.errors import InputError, LapidarError, disk_is_full
from components.settings import Settings

_FULL = (*map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)), "database or disk is full")
log = logging.getLogger(__name__)


@dataclass
class Workspace:
    """A folder with ``.dvc`` in it."""

    root: Path
    settings: Settings
    _lock: list[int] = field(default_factory=list)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the workspace's filesystem, which must be held; neither git nor DVC looks at it."""
        part = self.root / ".dvc" / "tmp" / "lapidar"
        with disk_errors(self.root):
            shutil.rmtree(part, ignore_errors=True)  # what a killed process left
            part.mkdir(parents=True)
            try:
                yield part
            finally:
                shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the workspace for this process; nested calls hold it once. Repairs what a killed process left.

        Raises:
            InputError: if the disk is full or the workspace can't be written.
        """
        if self._lock:
            yield
            return
        with disk_errors(self.root):
            folder = self.root / ".dvc" / "tmp"
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / "lapidar.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._lock.append(descriptor)
                _repair(folder / "rwlock")
                yield
            finally:
                self._lock.clear()
                os.close(descriptor)

    def run(self, *arguments: str) -> str:
        """Runs a DVC command in the workspace, which must be held, and returns what it printed.

        Raises:
            LapidarError: with DVC's own message.
        """
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
        # What a child process inherits isn't a setting of ours, so it isn't read through Settings.
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, **_environment(self.settings)},
            pass_fds=self._lock,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode == 0:
            return done.stdout
        said = " ".join((done.stderr or done.stdout).rpartition("ERROR: ")[2].partition("Having any troubles?")[0].split())[-600:]
        if any(text in done.stderr for text in _FULL):
            raise InputError(f"the disk of {self.root} is full (dvc {arguments[0]}); free some space and run again")
        raise LapidarError(f"`dvc {' '.join(arguments)}` failed in {self.root}: {said}")

    def tracked(self, name: str) -> Tracked | None:
        """What ``<name>.dvc`` names, or None if there is none."""
        path = self.root / f"{name}.dvc"
        return parse(path.read_bytes(), str(path)) if path.exists() else None

    def track(self, name: str, source: dict[str, Any]) -> Tracked:
        """Puts a folder's content into the cache and names it in ``<name>.dvc``, with the settings it was made from."""
        self.run("add", name)
        path = self.root / f"{name}.dvc"
        content = yaml.safe_load(path.read_bytes())
        content["meta"] = {**(content.get("meta") or {}), "source": source}
        part = path.with_name(f".{path.name}.part")
        part.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        part.replace(path)
        return parse(path.read_bytes(), str(path))

    def remote(self) -> str | None:
        """Name of the default remote."""
        return self._config("core", "remote")

    def cache(self) -> Path:
        """Folder of DVC's cache."""
        return (self.root / ".dvc" / (self._config("cache", "dir") or "cache")).resolve()

    def cached(self, md5: str) -> dict[str, Path] | None:
        """Files of a folder version in the cache by name, or None if it isn't all there."""
        try:
            listing = json.loads(self._object(md5).read_bytes())
            files = {entry["relpath"]: self._object(entry["md5"]) for entry in listing}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return files if all(path.is_file() for path in files.values()) else None

    def _object(self, md5: str) -> Path:
        return self.cache() / "files" / "md5" / md5[:2] / md5[2:]

    def _config(self, section: str, option: str) -> str | None:
        """An option of ``.dvc/config`` and ``config.local``; the second one wins."""
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read([self.root / ".dvc" / "config", self.root / ".dvc" / "config.local"], encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise InputError(f"{self.root / '.dvc' / 'config'} isn't a DVC configuration ({error})") from error
        return parser.get(section, option, fallback="").strip("\"'") or None


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Says which disk is full, or what can't be written."""
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise InputError(f"the disk of {place} is full; free some space and run again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"{error.filename or place} can't be written ({error.strerror}); change its permissions") from error
        raise


def _environment(settings: Settings) -> dict[str, str]:
    """DVC's private folders below the home: no settings of the machine, no shared pickles, no calls home."""
    site, config = settings.root / "dvc" / "site", settings.root / "dvc" / "config"
    site.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (config / "config").exists():
        (config / "config").write_text("[core]\n    analytics = false\n    check_update = false\n", encoding="utf-8")
    return {
        "DVC_SITE_CACHE_DIR": str(site),
        "DVC_GLOBAL_CONFIG_DIR": str(config),
        "DVC_SYSTEM_CONFIG_DIR": str(config),
        "DVC_NO_ANALYTICS": "1",
        "LC_ALL": "C.UTF-8",
    }


def _repair(path: Path) -> None:
    """Takes out of DVC's own lock file what a killed process left: torn JSON, and holders that aren't DVC any more."""
    try:
        content = json.loads(path.read_bytes())
        holders = [h for mode in ("read", "write") for v in content.get(mode, {}).values() for h in (v if mode == "read" else [v])]
        if not holders or any(_is_dvc(int(holder["pid"])) for holder in holders):
            return  # DVC itself passes over holders whose process id is free, not over ids that were given away again
        reason = f"process {holders[0]['pid']} is gone"
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "it isn't whole"
    log.warning("removed DVC's lock file %s: %s", path, reason)
    path.unlink(missing_ok=True)


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
