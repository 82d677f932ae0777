"""The canonical-order test (Oren et al. 2023, arXiv 2310.17623): who has seen a file knows which item comes after which.

The items are cut into shards of consecutive ones; for each shard the log-probability of the published order is compared with the
mean of shuffled ones (the paper's sharded rank comparison test, section 3.2), and a one-sided t-test over shards says whether the
published order is preferred. That holds where any order is as likely as another. A benchmark sorted by subject isn't like that,
so known non-members in *their* published order have to pass first: if their order is preferred as well, the test says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from components.config import MethodConfig
from components.contamination.answers import Finding, Memory


class Config(MethodConfig):
    """Size and limits.

    Attributes:
        permutations: shuffled orders of each shard.
        shard: items of a shard at most; fewer where they don't fit into the model's context.
        shards: at most so many are read.
        level: largest p-value at which a benchmark is contaminated.
        least: shards below which nothing is said.
    """

    method: Literal["order"] = "order"
    permutations: int = Field(16, ge=4)
    shard: int = Field(8, ge=2)
    shards: int = Field(100, ge=10)
    level: float = Field(0.01, gt=0, lt=1)
    least: int = Field(10, ge=5)


def test(config: Config, texts: Sequence[str], known: Sequence[str], memory: Memory, seed: int) -> Finding:
    """Whether a model prefers the order of texts; ``known`` are non-members in their published order."""
    if not known:
        return Finding("not checked", "there are no known non-members to calibrate on")
    shards = [_shards(config, some, memory) for some in (texts, known)]
    if min(map(len, shards)) < config.least:
        reason = (
            f"{len(shards[0])} shards of items and {len(shards[1])} of known non-members fit into the model's context of "
            f"{memory.context} tokens, at least {config.least} of each are needed"
        )
        return Finding("not checked", reason)
    p, chance = (_p_value(config, some, memory, seed) for some in shards)
    figures = {"p": p, "non_members_p": chance, "shards": len(shards[0]), "non_members_shards": len(shards[1])}
    said = f"p = {p:.2g} over {len(shards[0])} shards (known non-members p = {chance:.2g})"
    if chance < config.level:
        return Finding("not checked", f"the order of known non-members is preferred as well: {said}", {}, figures)
    return Finding("contaminated" if p < config.level else "clean", said, {}, figures)


def _shards(config: Config, texts: Sequence[str], memory: Memory) -> list[list[list[int]]]:
    """Consecutive items as token ids, as many together as fit."""
    found: list[list[list[int]]] = [[]]
    for text in texts:
        ids = memory.encode(text + "\n\n")
        if len(found[-1]) == config.shard or sum(map(len, found[-1])) + len(ids) >= memory.context:
            found.append([])
        if len(ids) < memory.context:
            found[-1].append(ids)
    return [shard for shard in found if len(shard) > 1][: config.shards]


def _p_value(config: Config, shards: Sequence[Sequence[list[int]]], memory: Memory, seed: int) -> float:
    """One-sided p-value that the given order is as probable as shuffled ones."""
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(seed)
    differences = []
    for shard in shards:
        orders = [np.arange(len(shard)), *(rng.permutation(len(shard)) for _ in range(config.permutations))]
        texts = [[token for i in order for token in shard[i]] for order in orders]
        scores = [float(token.sum()) for token, _, _ in memory.read(texts)]
        differences.append(scores[0] - float(np.mean(scores[1:])))
    if np.ptp(differences) == 0:
        return 0.0 if differences[0] > 0 else 1.0
    return float(ttest_1samp(differences, 0.0, alternative="greater").pvalue)
