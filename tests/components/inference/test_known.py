"""Earlier prompts are found by their blocks as well as by comparing all of them, and memory stays within its bound."""

from __future__ import annotations

import random

import torch

from components.inference.caches import Prefix
from components.inference.known import BLOCK, Known
from components.inference.prefixes import PREFIX_TOKENS


def alike(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def test_what_is_found_is_shared_and_at_most_a_block_shorter_than_the_best() -> None:
    rng, known, earlier, hits = random.Random(0), Known(3000), list[list[int]](), 0
    for _ in range(600):
        start = rng.choice(earlier)[: rng.randint(0, 80)] if earlier and rng.random() < 0.7 else []
        ids = start + [rng.randrange(3) for _ in range(rng.randint(1, 60))]
        best = max((alike(held.ids.tolist(), ids) for held in known._prefixes.values()), default=0)
        found = known._longest([*ids, 9], len(ids))
        if best < PREFIX_TOKENS:
            assert found is None
        else:
            assert found is not None
            assert best - BLOCK < found.length <= best
            assert found.layers[0][0][0, :, 0].tolist() == ids[: found.length]
            hits += 1
        states = torch.tensor(ids, dtype=torch.float32).view(1, -1, 1)
        known.add(ids, Prefix([(states, states)], len(ids)))
        earlier.append(ids)
        assert known.held == sum(len(held.ids) for held in known._prefixes.values()) <= 3000
    assert hits > 100
    assert {number for owners in known._sharing.values() for number in owners} == set(known._prefixes)
