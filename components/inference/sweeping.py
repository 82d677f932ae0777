"""Asks a model all cells of a grid, several at a time, in threads of its own; whoever asked looks in whenever they like."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.inference.answering import Answer, Source
from components.sweep import Cell, Grid, Outcome, mean_logprob

logger = logging.getLogger(__name__)
CONCURRENCY = 6
"""Requests at a time: enough for the server to batch, too few to fill its queue against others."""


@dataclass(frozen=True)
class Standing:
    """A grid as it stands: the outcomes so far, and whether more will come."""

    outcomes: dict[Cell, Outcome]
    done: bool
    stopped: bool = False


class Sweep:
    """One grid on its way.

    Args:
        grid: what is asked.
        source: makes the source of a cell's answer; what it raises is the cell's error.
    """

    def __init__(self, grid: Grid, source: Callable[[Cell], Source]) -> None:
        self.grid, self._source = grid, source
        self._outcomes: dict[Cell, Outcome] = {}
        self._running: set[Answer] = set()
        self._lock, self._stopped, self._ended = threading.Lock(), threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="sweep", daemon=True).start()

    def look(self) -> Standing:
        """How it stands now."""
        ended = self._ended.is_set()  # first: what comes in between must not be missed
        with self._lock:
            return Standing(dict(self._outcomes), ended, self._stopped.is_set())

    def stop(self) -> None:
        """Ends it soon; answers that are whole stay, cut ones say so, the rest is left out."""
        self._stopped.set()
        with self._lock:
            running = list(self._running)
        for answer in running:
            answer.stop()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits for its end; whether it came."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="sweep") as pool:
                list(pool.map(self._ask, self.grid.cells))
        finally:
            self._ended.set()

    def _ask(self, cell: Cell) -> None:
        if self._stopped.is_set():
            return
        try:
            answer = Answer(self._source(cell))
        except Exception as error:
            logger.debug("a cell couldn't be asked", exc_info=True)
            self._keep(Outcome(cell, error=str(error)))
            return
        with self._lock:
            self._running.add(answer)
        if self._stopped.is_set():
            answer.stop()
        answer.wait()
        with self._lock:
            self._running.discard(answer)
        now = answer.look()
        tokens = now.use.completion_tokens if now.use is not None else 0
        why = str(now.error) if now.error is not None else ""
        self._keep(Outcome(cell, now.texts[0], now.finish, tokens or now.pieces, now.seconds, mean_logprob(now.tokens[0]), why))

    def _keep(self, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[outcome.cell] = outcome
