"""The errors that Lapidar raises on purpose. Each message names the value, the place and the remedy."""

from __future__ import annotations

import errno
import sqlite3


class LapidarError(Exception):
    """A failure with a message that is meant for the user. The command line exits with 1."""


class InputError(LapidarError):
    """Wrong usage or wrong input: the user can mend it. The command line exits with 2."""


class StageFailed(LapidarError):
    """A stage's child process ended without a sealed output."""


class StageKilled(StageFailed):
    """A stage's child process was killed from outside; running it again goes on from its last checkpoint."""


class ParityError(LapidarError):
    """A model after a hand-over isn't the model before it."""


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left: the operating system's (that of a quota or of a limit on files too),
    SQLite's (also inside SQLAlchemy's), or that of a library (safetensors, torch) that only repeats the sentence.
    """
    cause = getattr(error, "orig", error)
    if isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or "No space left" in str(error)
