"""``--from`` and ``--until``: every stage that a plan and a report name can be chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import graph, recipe
from components.errors import InputError
from flows import stages

TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"
NODES = graph.build(recipe.load(str(TINY)))
NAMES = [node.name for node in NODES.nodes]


def test_until_a_stage_nothing_behind_it_is_gone_through() -> None:
    for name in NAMES:
        chosen = stages.select(NODES, None, name)
        assert [node.name for node in chosen.nodes] == NAMES[: NAMES.index(name) + 1]
        assert (chosen.verifies, chosen.whole) == (False, False)
    assert stages.select(NODES, None, "data").nodes == ()
    for name, verifies, whole in (("verify", True, False), ("register", True, True), (None, True, True)):
        chosen = stages.select(NODES, None, name)
        assert (chosen.nodes, chosen.verifies, chosen.whole) == (NODES.nodes, verifies, whole)


@pytest.mark.parametrize(
    ("start", "forced"),
    [
        ("data", {*NAMES, "verify"}),
        ("grpo", {"grpo", "evaluate.grpo", "merge", "export", "evaluate.export", "verify"}),
        ("evaluate.base", {"evaluate.base"}),
        ("verify", {"verify"}),
        ("register", set()),
        (None, set()),
    ],
)
def test_from_a_stage_all_that_follows_from_it_runs_again(start: str | None, forced: set[str]) -> None:
    assert stages.select(NODES, start, None).forced == forced


def test_stages_that_are_none_or_in_the_wrong_order() -> None:
    with pytest.raises(InputError, match=r"no stage 'verfy'; its stages are data, base, .*, evaluate.export, verify, register$"):
        stages.select(NODES, "verfy", None)
    with pytest.raises(InputError, match="--until verify lies before --from register"):
        stages.select(NODES, "register", "verify")
