"""Nothing is collected during imports, and what they made is left alone afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from components.importing import uncollected


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_collections_rest_meanwhile_and_never_see_what_was_made() -> None:
    with uncollected():
        assert not gc.isenabled()
        made = [[] for _ in range(10_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(made)
    collected = {id(found) for found in gc.get_objects()}
    assert not collected.intersection(map(id, made))


def test_an_error_ends_the_rest() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_whoever_collects_by_hand_goes_on_doing_so() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()
