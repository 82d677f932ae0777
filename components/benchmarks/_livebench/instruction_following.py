"""Instruction following: IFEval's instructions about a newspaper article.

Rule of livebench/process_results/instruction_following/utils.py for questions before the release of 2025-11-25; later ones ask
for other instructions (IFBench), which aren't checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.benchmarks import _instructions

NEW_INSTRUCTIONS = "2025-11-25"


def instructions(prompt: str, ids: Sequence[str], arguments: Sequence[dict[str, Any]], answer: str) -> float | None:
    """Half for following all of them, half for the share that is followed; the answer is taken as it is (strict)."""
    if not answer.strip():
        return None
    found = _instructions.follow(prompt, ids, arguments, answer).strict
    return (all(found) + sum(found) / len(found)) / 2
