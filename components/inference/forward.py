"""A model's forward pass over packed rows, prefixes and slots, with logits only where they are wanted.

Whether a model gives the same logits this way as the plain way is tried once on a few tokens; one that doesn't (its cache or
its masks are of another kind) is computed whole sequence by whole sequence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch

from components.inference.caches import Behind, Prefix, Slots
from components.inference.fused import Fused
from components.inference.layout import NOWHERE, Layout, layout, visible
from components.inference.prefixes import Row, chain
from components.inference.weights import supports
from components.models.precision import activations_left

_log = logging.getLogger(__name__)


class Forward:
    """Computes logits with one model.

    Args:
        model: a causal language model in evaluation mode.
        pad: token id for padding; never seen by another token.
        fuse: whether a model of a known kind may be computed by ``fused``.
    """

    def __init__(self, model: Any, pad: int, device: str, fuse: bool = True) -> None:
        self.model = model
        self.pad = pad
        self.device = device
        self.layers = int(model.config.get_text_config().num_hidden_layers)
        self.head = model.get_output_embeddings()
        self.fused = Fused(model) if fuse and supports(model) else None

    @cached_property
    def packs(self) -> bool:
        """Whether rows, prefixes and slots give this model's own logits, by ``fused`` or else by the model's own modules."""
        if self.fused is not None and self.fused.steps is not None:
            if self._agrees("decoded without compiled kernels", 1e-4):
                return True
            self.fused.steps = None
        if self.fused is not None:
            if self._agrees("computed by its own modules", 1e-4):
                return True
            self.fused = None
        return self._agrees("computed whole sequence by whole sequence", 1e-3)

    @property
    def current(self) -> bool:
        """Whether nothing that was copied from the model has changed since."""
        return self.fused is None or self.fused.current

    @property
    def token_bytes(self) -> int | None:
        """Of a token's keys and values in all layers, where steps are so short that reading these takes most of their time."""
        steps = self.fused.steps if self.packs and self.fused is not None else None
        return None if steps is None else steps.token_bytes

    def slots(self) -> Slots:
        """Empty ones, for ``step``."""
        _ = self.packs  # which decides what computes the steps
        return self._slots()

    def _slots(self) -> Slots:
        return Slots(self.layers) if self.fused is None else self.fused.slots()

    def _agrees(self, otherwise: str, limit: float) -> bool:
        name = type(self.model).__name__
        try:
            difference = self._difference()
        except Exception as error:
            # Whatever an unknown model's code raises: the way behind is right for it.
            _log.info("%s is %s: %s", name, otherwise, error)
            return False
        if next(self.model.parameters()).dtype != torch.float32:
            limit = 0.1
        if not difference <= limit:
            _log.info("%s is %s: logits differ by %.1g", name, otherwise, difference)
            return False
        return True

    def _difference(self) -> float:
        """Largest difference of logits between the plain way and ours, on two branches behind a prefix and one more token.

        Activations aren't rounded meanwhile: a bit of a sum would make the difference of a right way as large as a wrong one's.
        """
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        window = getattr(self.model.config.get_text_config(), "sliding_window", None) or 0
        ids = np.random.Generator(np.random.Philox(0)).integers(0, vocabulary, 12 + (window if window <= 256 else 0)).tolist()
        branches = [[*ids, 1, 2], [*ids, 3, 4], ids[:5]]
        with activations_left(self.model), torch.inference_mode():
            plain = self.whole(branches, [[len(b) - 2, len(b) - 1] for b in branches])
            _, cache = self.rows([Row(0, [ids[:4]], [-1], [0])], [None], [[]])
            start = cache.prefix(0, None, 4)
            tree = Row(4, [ids[4:], [1, 2], [3, 4]], [-1, 0, 0], [4, len(ids), len(ids)])
            end = len(ids) - 4
            short = Row(0, [ids[:4]], [-1], [0])
            packed, cache = self.rows([tree, short], [start, None], [[end, end + 1, end + 2, end + 3], [3]])
            slots = self._slots()
            slots.put(0, cache.prefix(0, start, end + 1), len(branches[0]))
            slots.put(1, cache.prefix(1, None, 4), len(branches[0]))
            last = self.step(slots, [2, ids[4]], [len(ids) + 1, 4])
        ours = torch.cat([packed, last])
        expected = plain[[0, 1, 2, 3, 4, 1, 5]]
        return float((ours.float() - expected.float()).abs().max() / max(1.0, float(expected.float().std())))

    def whole(self, sequences: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits at the wanted positions of each sequence, shape [all wanted, vocabulary], without any cache."""
        longest = max(map(len, sequences))
        ids = torch.tensor([[*s, *[self.pad] * (longest - len(s))] for s in sequences], device=self.device)
        # Padding stands on the right, where no causal model looks.
        with torch.inference_mode(), self._selecting(_flat(wanted, longest)):
            return self._logits(self.model(input_ids=ids, use_cache=False).logits)

    def rows(
        self, rows: Sequence[Row], prefixes: Sequence[Prefix | None], wanted: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, Behind]:
        """Computes packed rows, each behind its prefix.

        Args:
            wanted: columns of each row whose logits are needed.

        Returns:
            Logits, shape [all wanted, vocabulary], and the cache, from which prefixes can be cut.
        """
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.pad)
        positions = torch.full((len(rows), longest), NOWHERE)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.from_numpy(np.concatenate([np.asarray(run, dtype=np.int64) for run in row.runs]))
            positions[i, : len(row)] = torch.cat(
                [torch.arange(at, at + len(run)) for at, run in zip(row.reach, row.runs, strict=True)]
            )
        cache = Behind(prefixes, self.layers)
        branching = any(len(row.runs) > 1 for row in rows)
        allowed = torch.stack([_branches(row, longest, cache.length) for row in rows]).to(self.device) if branching else None
        queries = positions.masked_fill(positions == NOWHERE, 0).to(self.device)
        if branching or cache.length:
            keys = torch.cat([cache.positions(prefixes, NOWHERE), positions], 1)
            active = Layout(queries, keys.to(self.device), allowed)
        else:
            columns = torch.arange(longest, device=self.device).unsqueeze(0)
            active = Layout(columns, columns, plain=self.device != "cpu")
        if self.fused is not None:
            return self.fused.rows(ids.to(self.device), queries, visible(active, self.fused.dtype), cache, wanted), cache
        with layout(active), self._selecting(_flat(wanted, longest)):
            output = self.model(input_ids=ids.to(self.device), position_ids=queries, past_key_values=cache, use_cache=True)
        return self._logits(output.logits), cache

    def step(self, slots: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
        """Appends one token to each of the first rows of the slots; logits of the next, shape [rows, vocabulary].

        Args:
            lengths: how many tokens the rows hold already.
        """
        if self.fused is not None:
            return self.fused.step(slots, tokens, lengths)
        at = torch.tensor(lengths, device=self.device)
        span = max(lengths) + 1
        active = Layout(at.unsqueeze(-1), torch.arange(span, device=self.device).unsqueeze(0))
        with layout(active):
            output = self.model(
                input_ids=torch.tensor(tokens, device=self.device).unsqueeze(-1),
                position_ids=at.unsqueeze(-1),
                past_key_values=slots.at(at, span),
                use_cache=True,
            )
        return self._logits(output.logits)

    def _logits(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.reshape(-1, logits.shape[-1])

    @contextmanager
    def _selecting(self, flat: torch.Tensor) -> Iterator[None]:
        """Hands the output layer only the hidden states at these places, counted over all rows."""

        def select(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden = args[0]
            return (hidden.reshape(-1, hidden.shape[-1])[flat.to(hidden.device)].unsqueeze(0), *args[1:])

        hook = self.head.register_forward_pre_hook(select)
        try:
            yield
        finally:
            hook.remove()


def _flat(wanted: Sequence[Sequence[int]], longest: int) -> torch.Tensor:
    return torch.tensor([row * longest + column for row, columns in enumerate(wanted) for column in columns], dtype=torch.long)


def _branches(row: Row, longest: int, past: int) -> torch.Tensor:
    """Which columns the tokens of a row may see, causality aside: the prefix, their own run and its ancestors."""
    ends = np.cumsum([len(run) for run in row.runs]).tolist()
    begins = [0, *ends[:-1]]
    allowed = np.zeros((longest, past + longest), dtype=bool)
    allowed[:, :past] = True
    for run in range(len(row.runs)):
        for other in chain(row, run):
            allowed[begins[run] : ends[run], past + begins[other] : past + ends[other]] = True
    return torch.from_numpy(allowed)
