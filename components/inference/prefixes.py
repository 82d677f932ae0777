"""Finds what token sequences have in common, so that it is computed once.

A tree holds all sequences; each edge is a run of tokens. Few-shot headers become prefixes whose keys and values are kept
while sequences behind them are computed; a question with its choices becomes one row, the stem once and the choices behind
it, each seeing only the stem and itself (tree attention, arXiv 2305.09781).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

ROW_TOKENS = 640  # a row with more of them spends more on attention between branches than it saves
PREFIX_TOKENS = 24  # a shorter run isn't worth a forward pass of its own

Ids = Sequence[int]


@dataclass
class Node:
    """A run of tokens that some sequences share.

    Attributes:
        start, end: the run is ``ids[start:end]``.
        ids: one of the sequences that pass here.
        ends: sequences that end here.
        size: tokens of the run and of all runs behind it.
        first: the first place of the sequences that pass here whose logits are wanted.
    """

    start: int
    end: int
    ids: Ids
    children: list[Node] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    size: int = 0
    first: int = 0


@dataclass
class Row:
    """Runs of tokens to compute behind a prefix; each run's parent stands before it, the first one's parent is the prefix.

    Attributes:
        start: tokens of the prefix.
        runs: the tokens, from their depth on.
        parents: index of each run's parent, -1 for the prefix.
        reach: depth at which each run begins.
        owners: sequence → index of the run that it ends in.
    """

    start: int
    runs: list[Ids] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    reach: list[int] = field(default_factory=list)
    owners: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.runs))


@dataclass
class Shared:
    """A prefix to compute and what stands behind it.

    Attributes:
        start, ids: tokens ``ids[start:]`` are computed behind the prefix before them; no logits are wanted of them.
    """

    start: int
    ids: Ids
    rows: list[Row] = field(default_factory=list)
    behind: list[Shared] = field(default_factory=list)


def tree(sequences: Sequence[Ids], first: Sequence[int]) -> Node:
    """The sequences as a tree; equal ones end in the same node.

    Args:
        first: of each sequence the first place whose logits are wanted.
    """
    root = Node(0, 0, [])
    path = [root]
    arrays = [np.asarray(ids, dtype=np.int64) for ids in sequences]
    previous: np.ndarray | None = None
    for i in sorted(range(len(sequences)), key=lambda i: list(sequences[i])):
        ids, known = sequences[i], 0 if previous is None else common(previous, arrays[i])
        previous = arrays[i]
        while path[-1].end > known:
            last = path.pop()
            if path[-1].end < known:
                middle = Node(last.start, known, last.ids, [last])
                last.start = known
                path[-1].children[-1] = middle
                path.append(middle)
        if len(ids) > path[-1].end:
            node = Node(path[-1].end, len(ids), ids)
            path[-1].children.append(node)
            path.append(node)
        path[-1].ends.append(i)
    _measure(root, first)
    return root


def common(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences begin with alike."""
    length = min(len(a), len(b))
    differing = np.flatnonzero(a[:length] != b[:length])
    return int(differing[0]) if len(differing) else length


def _measure(root: Node, first: Sequence[int]) -> None:
    nodes = [root]
    for node in nodes:
        nodes.extend(node.children)
    for node in reversed(nodes):
        node.size = node.end - node.start + sum(child.size for child in node.children)
        node.first = min([first[i] for i in node.ends] + [child.first for child in node.children], default=0)


def plan(root: Node, row_tokens: int) -> Shared:
    """Rows and prefixes that compute every token of the tree; the result's own prefix is empty.

    Args:
        row_tokens: a subtree with at most so many tokens becomes one row; 0 gives each sequence a row of its own.
    """
    top = Shared(0, [])
    waiting: list[tuple[Node, Shared, int]] = [(child, top, 0) for child in root.children]
    while waiting:
        node, shared, start = waiting.pop()
        if node.size + node.start - start <= row_tokens or not node.children:
            shared.rows.append(_row(node, start))
            continue
        cut = min(node.end, node.first)
        if cut - start >= PREFIX_TOKENS:
            inner = Shared(start, node.ids[:cut])
            shared.behind.append(inner)
            shared, start = inner, cut
        if node.ends:
            shared.rows.append(Row(start, [node.ids[start : node.end]], [-1], [start], dict.fromkeys(node.ends, 0)))
        waiting.extend((child, shared, start) for child in node.children)
    return top


def _row(node: Node, start: int) -> Row:
    row = Row(start)
    waiting = [(node, -1, start)]
    while waiting:
        node, parent, begin = waiting.pop()
        row.owners.update(dict.fromkeys(node.ends, len(row.runs)))
        row.runs.append(node.ids[begin : node.end])
        row.parents.append(parent)
        row.reach.append(begin)
        here = len(row.runs) - 1
        waiting.extend((child, here, child.start) for child in reversed(node.children))
    return row


def chain(row: Row, run: int) -> Iterator[int]:
    """A run and its ancestors in the row, last first."""
    while run >= 0:
        yield run
        run = row.parents[run]
