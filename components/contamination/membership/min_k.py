"""Min-K%++ (Zhang et al. 2024, arXiv 2404.02936): the least probable tokens of a text that was learnt by heart are still probable.

Score of a token (eq. 4): (log p(x_t) - μ) / σ with mean and deviation of log p under the model at that place; score of a text: mean
of its lowest ``share`` of tokens. By itself a score says nothing. Texts that the model can't have seen, of the same kind as the
benchmark, say how high it gets by chance: an item is flagged above the score that a share ``false_positives`` of these exceeds. So
many clean items are flagged as well; a benchmark counts as contaminated only if its flagged share is larger than that of the known
non-members by Fisher's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from components.config import MethodConfig
from components.contamination.answers import Finding, Memory
from components.contamination.wording import Array


class Config(MethodConfig):
    """Score and limits.

    Attributes:
        share: of a text's tokens that count, the lowest.
        false_positives: share of known non-members above the threshold.
        level: largest p-value at which a benchmark is contaminated.
        least: items, and non-members, below which nothing is said.
    """

    method: Literal["min_k"] = "min_k"
    share: float = Field(0.2, gt=0, le=1)
    false_positives: float = Field(0.05, gt=0, lt=1)
    level: float = Field(0.01, gt=0, lt=1)
    least: int = Field(40, ge=10)


def test(config: Config, texts: Sequence[str], known: Sequence[str], memory: Memory, seed: int) -> Finding:
    """Whether a model has seen texts.

    Args:
        texts: the benchmark's items.
        known: texts of the same kind that it has not seen.
    """
    from scipy.stats import fisher_exact

    if not known:
        return Finding("not checked", "there are no known non-members to calibrate on")
    if min(len(texts), len(known)) < config.least:
        reason = f"{len(texts)} items and {len(known)} known non-members, at least {config.least} of each are needed"
        return Finding("not checked", reason)
    mine, others = _scores(config, texts, memory), _scores(config, known, memory)
    threshold = float(np.sort(others)[math.ceil(len(others) * (1 - config.false_positives)) - 1])
    above, chance = np.flatnonzero(mine > threshold), int((others > threshold).sum())
    table = [[len(above), len(mine) - len(above)], [chance, len(others) - chance]]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    figures = {
        "auc": round(auc(mine, others), 6),
        "threshold": round(threshold, 6),
        "above": len(above),
        "non_members_above": chance,
        "non_members": len(others),
        "p": p,
    }
    said = (
        f"{len(above)} of {len(mine)} items and {chance} of {len(others)} known non-members above the threshold, "
        f"AUC {figures['auc']:.2f}, p = {p:.2g}"
    )
    if p >= config.level:
        return Finding("clean", said, {}, figures)
    return Finding("contaminated", said, {int(i): float(mine[i]) for i in above}, figures)


def auc(members: Array, others: Array) -> float:
    """Probability that a member scores above a non-member, ties half.

    >>> auc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    """
    return float((members[:, None] > others[None]).mean() + 0.5 * (members[:, None] == others[None]).mean())


def _scores(config: Config, texts: Sequence[str], memory: Memory) -> Array:
    found = []
    for token, mean, deviation in memory.read([memory.encode(text) or [memory.start] for text in texts]):
        scores = np.sort((token - mean) / np.maximum(deviation, 1e-6))
        found.append(scores[: max(1, round(config.share * len(scores)))].mean())
    return np.array(found)
