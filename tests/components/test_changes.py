"""Reasons why a stage runs, against real sealed outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components import changes, graph, methods, recipe
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.changes import Look
from components.graph import Graph, Node
from components.recipe import Recipe
from components.store import MANIFEST, Store


def given(data: DatasetRef, digest: str = "m1") -> Inputs:
    return Inputs(data, {"model": ModelRef(Path("x"), None, digest)})


def sealed(root: Path, node: Node, read: Inputs, **record: Any) -> Path:
    """An output as a run would have sealed it, except for what ``record`` says."""
    known = {
        "name": node.name,
        "config": node.config.model_dump(mode="json"),
        "inputs": graph.input_digests(node, read),
        "seed": 0,
        "code": methods.code_digest(*node.modules),
        "versions": methods.versions(*node.modules),
        "time": 1.0,
    }
    folder = root.parent / "work"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    key = f"{len(list(root.rglob(MANIFEST))):064d}"
    return Store(root).seal(node.section, node.method, key, folder, known | record).path


@pytest.fixture
def nodes(tiny_recipe: Recipe) -> Graph:
    return graph.build(tiny_recipe)


def why(nodes: Graph, name: str, root: Path, inputs: Inputs | None, waits_for: str = "", damaged: bool = False) -> list[str]:
    node = nodes.node(name)
    past = changes.history(root, node)
    return changes.reasons(node, changes.prefixes(nodes)[name], inputs, waits_for, 0, past, damaged)


def test_a_stage_that_never_ran_says_so(nodes: Graph, tiny_data: DatasetRef, tmp_path: Path) -> None:
    root = tmp_path / "store"
    assert why(nodes, "sft", root, given(tiny_data)) == ["never run"]
    assert why(nodes, "sft", root, None, "quantize") == ["follows from quantize", "never run"]
    sealed(root, nodes.node("dpo"), given(tiny_data))
    assert why(nodes, "grpo", root, given(tiny_data)) == ["never run"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"seed": 7}, "seed changed from 7 to 0"),
        ({"code": "other"}, "code changed"),
        ({"versions": {"trl": "1.15.0"}}, "trl 1.15.0 → "),
        ({"inputs": {}}, "input changed: data sft"),
    ],
)
def test_each_part_of_the_key_is_named(
    nodes: Graph, tiny_data: DatasetRef, tmp_path: Path, record: dict[str, Any], reason: str
) -> None:
    root = tmp_path / "store"
    sealed(root, nodes.node("sft"), given(tiny_data), **record)
    assert any(reason in found for found in why(nodes, "sft", root, given(tiny_data)))


def test_settings_are_named_as_overrides_are(nodes: Graph, tiny_recipe: Recipe, tiny_data: DatasetRef, tmp_path: Path) -> None:
    root, raw = tmp_path / "store", tiny_recipe.dump()
    for name in ("sft", "grpo"):
        sealed(root, nodes.node(name), given(tiny_data))
    for override in ("sft.adapter.r=8", "align.1.temperature=0.7"):
        recipe.apply_override(raw, override)
    other = graph.build(Recipe.model_validate(raw))
    assert why(other, "sft", root, given(tiny_data)) == ["sft.adapter.r changed from 4 to 8"]
    assert why(other, "grpo", root, given(tiny_data)) == ["align.1.temperature changed from 1.0 to 0.7"]
    assert why(other, "grpo", root, None, "dpo") == ["follows from dpo", "align.1.temperature changed from 1.0 to 0.7"]


def test_a_changed_model_is_named_by_its_stage(nodes: Graph, tiny_data: DatasetRef, tmp_path: Path) -> None:
    root = tmp_path / "store"
    sealed(root, nodes.node("sft"), given(tiny_data, "m1"))
    assert why(nodes, "sft", root, given(tiny_data, "m2")) == ["input changed: model from quantize"]


def test_the_closest_of_several_outputs_is_compared(nodes: Graph, tiny_data: DatasetRef, tmp_path: Path) -> None:
    root = tmp_path / "store"
    sealed(root, nodes.node("sft"), given(tiny_data), seed=3, code="other", time=9.0)
    sealed(root, nodes.node("sft"), given(tiny_data), seed=4, time=1.0)
    assert why(nodes, "sft", root, given(tiny_data)) == ["seed changed from 4 to 0"]


def test_equal_in_all_that_is_kept_means_another_device(nodes: Graph, tiny_data: DatasetRef, tmp_path: Path) -> None:
    root = tmp_path / "store"
    sealed(root, nodes.node("sft"), given(tiny_data))
    assert why(nodes, "sft", root, given(tiny_data)) == ["the device class changed"]
    assert why(nodes, "sft", root, given(tiny_data), damaged=True) == ["its sealed output is damaged"]


def test_looking_leaves_a_damaged_output_where_it_is(nodes: Graph, tiny_data: DatasetRef, tmp_path: Path) -> None:
    root = tmp_path / "store"
    path = sealed(root, nodes.node("sft"), given(tiny_data))
    assert Look(root).open("sft", "sft", path.name) is not None
    (path / "file").write_text("y")
    assert Look(root).open("sft", "sft", path.name) is None
    assert (path / "file").read_text() == "y"


def test_a_mirror_is_asked_and_nothing_is_fetched(nodes: Graph, tiny_data: DatasetRef, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    path = sealed(mirror, nodes.node("sft"), given(tiny_data))
    found = Look(tmp_path / "store", str(mirror)).open("sft", "sft", path.name)
    assert found is not None
    known = Store(mirror).open("sft", "sft", path.name)
    assert known is not None
    assert found.digest == known.digest
    assert not (tmp_path / "store").exists()
