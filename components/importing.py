"""Imports of large libraries without the garbage collections that they set off."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Collects no garbage while something large is imported, and what is there then never again: modules live as long as
    their process. Prefect, MLflow and the trainers make a million objects, and a quarter of their imports' time goes into
    collections that find nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
