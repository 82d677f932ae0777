"""Where a registered version comes from, as a graph: dataset and recipe → stages → version → aliases. Pure.

Edges follow the recipe that the version carries; a recipe that this release can't read any more gives a chain in the order in
which the stages ran. Sample: ``Edge("sft", "dpo")``, ``Edge("merge", "version")``, ``Edge("version", "alias:champion")``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from components import graph
from components.errors import LapidarError
from components.recipe import Recipe

Kind = Literal["data", "recipe", "code", "stage", "evaluation", "version", "alias"]


@dataclass(frozen=True)
class Node:
    """One thing that a version comes from, or a name that it has.

    Attributes:
        label: its name.
        details: lines below it: method, digest, how long it took.
    """

    id: str
    kind: Kind
    label: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edge:
    """``source`` went into ``target``."""

    source: str
    target: str


@dataclass(frozen=True)
class Lineage:
    """All nodes, and what went into what."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def trace(shown: Mapping[str, Any]) -> Lineage:
    """The lineage of a version, as ``Registry.show`` has it."""
    evidence = shown["evidence"]
    stages = [stage for stage in evidence["stages"] if stage["name"] != "data"]
    nodes = [*_sources(evidence), *(_stage(stage) for stage in stages)]
    nodes.append(Node("version", "version", shown["uri"].removeprefix("models:/"), (shown["digest"][:12],)))
    nodes += [Node(f"alias:{alias}", "alias", alias) for alias in shown["aliases"]]
    known = {node.id for node in nodes}
    edges = [edge for edge in _edges(evidence, stages) if {edge.source, edge.target} <= known]
    edges += [Edge("version", f"alias:{alias}") for alias in shown["aliases"]]
    return Lineage(tuple(nodes), tuple(dict.fromkeys(edges)))


def _sources(evidence: Mapping[str, Any]) -> Iterator[Node]:
    dataset, recipe = evidence["dataset"], evidence["recipe"]
    if dataset.get("md5"):
        revision = dataset.get("revision")
        yield Node("data", "data", "data", (str(dataset["md5"])[:12], *((f"git {revision[:12]}",) if revision else ())))
    source = recipe.get("model", {}).get("source")
    if source and source != "pretrain":
        yield Node("source", "data", str(source), tuple(str(r)[:12] for r in [recipe["model"].get("revision")] if r))


def _stage(stage: Mapping[str, Any]) -> Node:
    kind: Kind = "evaluation" if stage["name"].startswith("evaluate") or stage["name"] == "contamination" else "stage"
    return Node(stage["name"], kind, stage["name"], (str(stage["method"]), str(stage.get("key", ""))[:12]))


def _edges(evidence: Mapping[str, Any], stages: list[Mapping[str, Any]]) -> Iterator[Edge]:
    """What went into each stage, by the recipe; and the stages that the version is made and judged from.

    An adapter stands for the base below it too, whose own edge leads to it; held-out data is left out of evaluations, which all
    read it.
    """
    try:
        found = graph.build(Recipe.model_validate(evidence["recipe"]))
    except (ValidationError, LapidarError):
        names = ["data", *(stage["name"] for stage in stages), "version"]
        yield from map(Edge, names, names[1:])
        return
    for node in found.nodes:
        if node.splits and node.section != "evaluate":
            yield Edge("data", node.name)
        yield from (Edge(source.adapter or source.base, node.name) for source in node.models.values())
        if node.chooser is not None:
            yield Edge(node.chooser, node.name)
    ends = [name for name in ("merge", "export") if name in found.models] or [found.final]
    yield from (Edge(name, "verify") for name in ends)
    yield from (Edge(name, "version") for name in ("verify", "contamination"))
    yield from (Edge(f"evaluate.{name}", "version") for name in ends)
    if not any(stage["name"] == "verify" for stage in stages):
        yield from (Edge(name, "version") for name in ends)
