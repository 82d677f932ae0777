"""Child processes that don't read their parent's main module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def main_hidden() -> Iterator[None]:
    """Keeps multiprocessing from importing the parent's main module in every child that begins meanwhile: seconds for nothing,
    and an error where that module can't be run a second time (a script that another program runs, as Streamlit does).
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
