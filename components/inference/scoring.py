"""Log-probabilities of continuations: what contexts share is computed once, all choices of a question in one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from components.inference import prefixes
from components.inference.batching import by_budget, halving
from components.inference.caches import Prefix
from components.inference.forward import Forward
from components.inference.prefixes import Row, Shared, chain, plan, tree

Pair = tuple[Sequence[int], Sequence[int]]
Score = tuple[float, bool]


def score(forward: Forward, pairs: Sequence[Pair], budget: int, on_done: Callable[[int], None]) -> list[Score]:
    """For each (context, continuation): the summed log-probability in nats, and whether the continuation is greedy.

    Args:
        budget: tokens in a batch.
        on_done: called with how many more pairs are done.
    """
    sequences = [[*context, *rest][:-1] for context, rest in pairs]
    targets = [np.asarray(rest, dtype=np.int64) for _, rest in pairs]
    scores: list[Score] = [(0.0, False)] * len(pairs)
    if forward.packs:
        _Packed(forward, targets, scores, budget, on_done).level(
            [(plan(tree(sequences, [len(context) - 1 for context, _ in pairs]), prefixes.ROW_TOKENS), None)]
        )
        return scores
    for batch in by_budget([len(ids) for ids in sequences], budget):

        def whole(batch: list[int]) -> list[Score]:
            wanted = [range(len(sequences[i]) - len(targets[i]), len(sequences[i])) for i in batch]
            return _scores(forward.whole([sequences[i] for i in batch], wanted), wanted, [targets[i] for i in batch])

        for i, found in zip(batch, halving(whole, batch), strict=True):
            scores[i] = found
        on_done(len(batch))
    return scores


class _Packed:
    """Computes a plan level by level: prefixes in batches, then the rows behind them, whatever prefix each has."""

    def __init__(
        self, forward: Forward, targets: list[np.ndarray], scores: list[Score], budget: int, on_done: Callable[[int], None]
    ) -> None:
        self.forward = forward
        self.targets = targets
        self.scores = scores
        self.budget = budget
        self.on_done = on_done

    def level(self, level: list[tuple[Shared, Prefix | None]]) -> None:
        """All rows behind these prefixes, then batches of the prefixes behind them with everything that follows."""
        rows = [(row, prefix) for shared, prefix in level for row in shared.rows]
        for batch in by_budget([len(row) + row.start // 4 for row, _ in rows], self.budget):
            halving(self._row_scores, [rows[i] for i in batch])
            self.on_done(sum(len(rows[i][0].owners) for i in batch))
        inner = [(shared, prefix) for before, prefix in level for shared in before.behind]
        for batch in by_budget([len(shared.ids) for shared, _ in inner], self.budget):
            made = prefill(self.forward, [inner[i] for i in batch])
            self.level([(inner[i][0], prefix) for i, prefix in zip(batch, made, strict=True)])

    def _row_scores(self, batch: list[tuple[Row, Prefix | None]]) -> list[None]:
        wanted: list[list[int]] = []
        places: list[np.ndarray] = []
        owners: list[int] = []
        for row, _ in batch:
            columns, mine = _columns(row, self.targets)
            wanted.append(columns)
            places.extend(mine)
            owners.extend(row.owners)
        offsets = np.cumsum([0, *map(len, wanted)])[:-1]
        shifts = np.repeat(offsets, [len(row.owners) for row, _ in batch])
        logits, _ = self.forward.rows([row for row, _ in batch], [prefix for _, prefix in batch], wanted)
        picked = [place + shift for place, shift in zip(places, shifts, strict=True)]
        for owner, found in zip(owners, _picked(logits, picked, [self.targets[o] for o in owners]), strict=True):
            self.scores[owner] = found
        return [None] * len(batch)


def prefill(forward: Forward, jobs: list[tuple[Shared, Prefix | None]]) -> list[Prefix]:
    """Computes prefixes, each behind the one before it; in smaller batches where memory is short."""

    def compute(batch: list[tuple[Shared, Prefix | None]]) -> list[Prefix]:
        rows = [Row(shared.start, [shared.ids[shared.start :]], [-1], [shared.start]) for shared, _ in batch]
        _, cache = forward.rows(rows, [before for _, before in batch], [[]] * len(batch))
        return [cache.prefix(i, before, len(rows[i])) for i, (_, before) in enumerate(batch)]

    return halving(compute, jobs)


def _columns(row: Row, targets: list[np.ndarray]) -> tuple[list[int], list[np.ndarray]]:
    """(columns of the row whose logits are wanted, for each owner the indices of its own among them)."""
    begins = np.cumsum([0, *map(len, row.runs)])
    columns = []
    for owner, run in row.owners.items():
        path: list[int] = []
        for part in chain(row, run):
            path[:0] = range(begins[part], begins[part + 1])
            if len(path) >= len(targets[owner]):
                break
        columns.append(path[-len(targets[owner]) :])
    wanted = sorted({column for mine in columns for column in mine})
    return wanted, [np.searchsorted(wanted, mine) for mine in columns]


def _scores(logits: torch.Tensor, wanted: Sequence[Sequence[int]], targets: list[np.ndarray]) -> list[Score]:
    starts = np.cumsum([0, *map(len, wanted)])
    return _picked(logits, [np.arange(a, b) for a, b in pairwise(starts)], targets)


def _picked(logits: torch.Tensor, rows: list[np.ndarray], targets: list[np.ndarray]) -> list[Score]:
    """Scores of continuations from the logits in these rows, one a target."""
    logits = logits.float()
    total = logits.logsumexp(-1)
    best = logits.argmax(-1)
    at = torch.from_numpy(np.concatenate(rows)).to(logits.device)
    wanted = torch.from_numpy(np.concatenate(targets)).to(logits.device)
    values = (logits[at, wanted] - total[at]).double().cpu().numpy()
    right = (best[at] == wanted).cpu().numpy()
    starts = np.cumsum([0, *map(len, targets)])[:-1]
    return [
        (float(value), bool(all_right))
        for value, all_right in zip(np.add.reduceat(values, starts), np.logical_and.reduceat(right, starts), strict=True)
    ]
