"""What a version comes from: by its recipe, and in a chain where the recipe can't be read any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import flows
from components import graph
from components.lineage import Edge, Lineage, trace
from components.recipe import Recipe

RECIPES = Path(flows.__path__[0]) / "recipes"


def shown(name: str, **changes: Any) -> dict[str, Any]:
    """A version of one of our recipes, whose stages are those that the recipe plans."""
    recipe = Recipe.model_validate(yaml.safe_load((RECIPES / f"{name}.yaml").read_bytes()))
    stages = [{"name": "data", "method": "x", "key": "00" * 32}]
    stages += [{"name": node.name, "method": node.method, "key": "ab" * 32} for node in graph.build(recipe).nodes]
    stages.append({"name": "verify", "method": "parity", "key": "cd" * 32})
    dataset = {"md5": "d1" * 16, "revision": "e2" * 20}
    evidence = {"dataset": dataset, "recipe": recipe.dump(), "stages": stages} | changes
    return {"evidence": evidence, "uri": f"models:/{name}/3", "digest": "f3" * 32, "aliases": ["candidate", "champion"]}


def into(found: Lineage, target: str) -> set[str]:
    return {edge.source for edge in found.edges if edge.target == target}


def test_edges_follow_the_recipe() -> None:
    found = trace(shown("quickstart"))
    assert into(found, "sft") == {"data", "quantize"}
    assert into(found, "quantize") == {"data", "base"}
    assert into(found, "dpo") == {"data", "sft"}
    assert into(found, "grpo") == {"data", "dpo"}
    assert into(found, "evaluate.grpo") == {"grpo"}
    assert into(found, "verify") == {"merge", "export"}
    assert into(found, "version") == {"verify", "contamination", "evaluate.export"}
    assert into(found, "alias:champion") == into(found, "alias:candidate") == {"version"}
    assert len(set(found.edges)) == len(found.edges)


def test_everything_leads_to_the_version() -> None:
    found = trace(shown("quickstart"))
    known = {node.id for node in found.nodes}
    assert {name for edge in found.edges for name in (edge.source, edge.target)} <= known
    judged = {node.id for node in found.nodes if node.kind == "evaluation"}
    for node in found.nodes:
        if node.id not in judged and node.kind != "alias":
            assert _leads(found, node.id, "version"), node.id


def _leads(found: Lineage, source: str, target: str) -> bool:
    return source == target or any(_leads(found, edge.target, target) for edge in found.edges if edge.source == source)


def test_nodes_say_what_they_are() -> None:
    nodes = {node.id: node for node in trace(shown("feedback")).nodes}
    assert nodes["data"].details == ("d1d1d1d1d1d1", "git e2e2e2e2e2e2")
    assert (nodes["source"].kind, nodes["source"].label) == ("data", "models:/quickstart/1")
    assert (nodes["version"].label, nodes["version"].details) == ("feedback/3", ("f3f3f3f3f3f3",))
    assert nodes["dpo"].details == ("dpo", "abababababab")
    assert {node.kind for name, node in nodes.items() if name.startswith("evaluate")} == {"evaluation"}


@pytest.mark.parametrize("recipe", [{}, {"name": "old", "unknown": 1}])
def test_a_recipe_that_cannot_be_read_gives_a_chain(recipe: dict[str, Any]) -> None:
    stages = [{"name": name, "method": "m", "key": "ab"} for name in ("data", "sft", "merge")]
    found = trace(shown("quickstart", recipe=recipe, stages=stages))
    assert found.edges[:3] == (Edge("data", "sft"), Edge("sft", "merge"), Edge("merge", "version"))


def test_what_was_not_verified_and_has_no_data_is_still_whole() -> None:
    version = shown("quickstart", dataset={})
    version["evidence"]["stages"] = [stage for stage in version["evidence"]["stages"] if stage["name"] != "verify"]
    found = trace(version)
    assert "data" not in {node.id for node in found.nodes}
    assert into(found, "version") == {"contamination", "evaluate.export", "merge", "export"}
