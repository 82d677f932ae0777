from __future__ import annotations

import threading
from collections.abc import Iterator

from components.errors import InputError
from components.inference.client import ServerDown
from components.inference.reading import Event, Reply, Text, Token, Use
from components.inference.sweeping import CONCURRENCY, Sweep
from components.sweep import Cell, Grid, Outcome


class Said:
    """Says its cell's settings, perhaps after a while."""

    def __init__(self, cell: Cell, go: threading.Event | None = None) -> None:
        self.cell, self.go, self.stopped = cell, go, threading.Event()

    def __iter__(self) -> Iterator[Event]:
        yield Text(0, f"{self.cell.temperature:g}")
        while self.go is not None and not self.go.wait(0.01):
            if self.stopped.is_set():
                yield Reply(0, f"{self.cell.temperature:g}", "stopped")
                return
        if self.cell.temperature == 2:
            raise ServerDown("it ended", "start it")
        yield Token(0, "x", -1.0)
        yield Use(1, 5)
        yield Reply(0, f"{self.cell.temperature:g}", "stop")

    def stop(self) -> None:
        self.stopped.set()


def test_every_cell_is_asked_with_its_own_settings_and_a_fault_is_its_own() -> None:
    grid = Grid(("a",), (0.0, 0.5, 2.0, 3.0))

    def source(cell: Cell) -> Said:
        if cell.temperature == 3:
            raise InputError("too hot")
        return Said(cell)

    sweep = Sweep(grid, source)
    assert sweep.wait(10)
    found = sweep.look()
    assert found.done
    assert {cell.temperature: (o.text, o.finish, o.tokens, o.logprob, o.error) for cell, o in found.outcomes.items()} == {
        0.0: ("0", "stop", 5, -1.0, ""),
        0.5: ("0.5", "stop", 5, -1.0, ""),
        2.0: ("2", "error", 1, None, "it ended; start it"),
        3.0: ("", "", 0, None, "too hot"),
    }


def test_a_few_are_asked_at_a_time_and_stopping_leaves_the_rest_out() -> None:
    grid, go, asked = Grid(("a",), (0.5,), samples=20), threading.Event(), []

    def source(cell: Cell) -> Said:
        asked.append(cell)
        return Said(cell, go)

    sweep = Sweep(grid, source)
    while len(asked) < CONCURRENCY:
        threading.Event().wait(0.005)
    assert sweep.look().outcomes == {}
    sweep.stop()
    assert sweep.wait(10)
    found = sweep.look()
    assert found.stopped
    assert len(asked) == CONCURRENCY
    assert all(isinstance(outcome, Outcome) and outcome.finish == "stopped" for outcome in found.outcomes.values())
    assert len(found.outcomes) == CONCURRENCY
