"""Which stages of a recipe a run goes through, and which of them run although they are cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.errors import InputError
from components.graph import Graph, Node

DATA, VERIFY, REGISTER = "data", "verify", "register"


@dataclass(frozen=True)
class Selection:
    """What ``--from`` and ``--until`` choose.

    Attributes:
        nodes: stages to go through, in order.
        forced: names of stages that run again even if they are cached.
        verifies: whether the run goes on to the comparison with the registry's copy.
        whole: whether the run goes on to registration.

    """

    nodes: tuple[Node, ...]
    forced: frozenset[str]
    verifies: bool
    whole: bool


def select(graph: Graph, start: str | None, until: str | None) -> Selection:
    """The stages of a run.

    Args:
        start: stage that runs again, and with it all that depends on it.
        until: last stage of the run.

    Raises:
        InputError: if one of them is no stage of the recipe, or ``until`` lies before ``start``.

    """
    names = [DATA, *(node.name for node in graph.nodes), VERIFY, REGISTER]
    for name in (start, until):
        if name is not None and name not in names:
            raise InputError(f"the recipe has no stage {name!r}; its stages are {', '.join(names)}")
    if start and until and names.index(until) < names.index(start):
        raise InputError(f"--until {until} lies before --from {start}; the stages are {', '.join(names)}")
    nodes = graph.nodes if until is None else graph.nodes[: names.index(until)]
    whole = until in (None, REGISTER)
    return Selection(nodes, frozenset(following(graph.nodes, start)), whole or until == VERIFY, whole)


def following(nodes: Sequence[Node], start: str | None) -> set[str]:
    """A stage and all that depend on it; with ``data`` all stages. The comparison at the end depends on whatever makes a model."""
    reached = {start} if start else set()
    for node in nodes:
        if start == DATA or reached.intersection(node.sources):
            reached.add(node.name)
    if any(node.name in reached and node.section not in ("evaluate", "screen") for node in nodes):
        reached.add(VERIFY)
    return {name for name in reached if name is not None} - {DATA, REGISTER}
