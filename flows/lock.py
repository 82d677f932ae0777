"""One run at a time in a home: a lock that the kernel releases when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.errors import InputError
from components.settings import Settings

_held: set[Path] = set()


@contextmanager
def home_lock(settings: Settings, wait: float = 0.0) -> Iterator[None]:
    """Holds the home's lock; within one process, a nested call holds it already.

    Args:
        wait: seconds to wait for another run to end.

    Raises:
        InputError: naming the process that holds it.

    """
    if settings.root in _held:
        yield
        return
    settings.prepare()
    file = (settings.root / "lock").open("a+")
    limit = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= limit:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise InputError(
                    f"another run is using {settings.root} (process {holder}); wait until it ends, "
                    "or give this one a home of its own with LAPIDAR_HOME=/path"
                ) from None
            time.sleep(0.5)
    try:
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        _held.add(settings.root)
        yield
    finally:
        _held.discard(settings.root)
        file.close()
