r"""Where an answer says what it is: ``<solution>`` tags, ``\boxed{…}``, bold words (livebench/process_results/util.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def without_thoughts(answer: str) -> str:
    """The answer without what a reasoning model writes before it (livebench/gen_ground_truth_judgment.py)."""
    return re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL).strip()


def solutions(answer: str) -> list[str]:
    """Contents of the ``<solution>`` tags on one line; a first tag that was closed by mistake counts as opened."""
    return re.findall(r"<solution>(.*?)</solution>", answer) or re.findall(r"</solution>(.*?)</solution>", answer)


def boxed(answer: str) -> str | None:
    r"""Content of the last ``\boxed{…}`` or, if there is none, ``\fbox{…}``, braces matched, dollar signs left out.

    >>> boxed(r"So $\boxed{\frac{1}{2}}$."), boxed(r"$\boxed 7$"), boxed(r"\boxed{1"), boxed("7")
    ('\\frac{1}{2}', '7', None, None)
    """
    if "\\boxed " in answer:
        return answer.split("\\boxed ")[-1].split("$")[0]
    start = answer.rfind("\\boxed")
    if start < 0 and (start := answer.rfind("\\fbox")) < 0:
        return None
    depth = 0
    for end in range(start, len(answer)):
        depth += {"{": 1, "}": -1}.get(answer[end], 0)
        if answer[end] == "}" and depth == 0:
            found = answer[start : end + 1].replace("$", "").replace("fbox", "boxed")
            return found.removeprefix("\\boxed{")[:-1] if found.startswith("\\boxed{") else None
    return None


def plain(latex: str) -> str:
    r"""A boxed word without its ``\text{…}``."""
    return latex.replace("\\text{", "").replace("}", "").replace("\\", "")


def edit_distance(a: Sequence[T], b: Sequence[T]) -> int:
    """Levenshtein distance: insertions, deletions and substitutions, each of cost 1.

    >>> edit_distance("kitten", "sitting"), edit_distance([1, 2, 3], [3, 2, 1]), edit_distance([], [1])
    (3, 2, 1)
    """
    previous = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        row = [i]
        for j, right in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (left != right)))
        previous = row
    return previous[-1]
