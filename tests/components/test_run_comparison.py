"""What differs between runs, which answers are worth a look, and what waits for a person."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components import examples
from components.database.engine import open_database
from components.database.models import Approval
from components.run_comparison import Difference, curves_in_common, origins, scored, settings_differ, telling
from components.run_records import Record, RunRow, detail
from components.settings import Settings
from components.versions import Version
from components.waiting import waiting


def run(name: str, *stages: Record, **params: str) -> object:
    return detail(name, [Record("", name, "finished", began=0, params=params, tags={"lock": "1"}), *stages])


def test_only_settings_that_differ_are_shown() -> None:
    second = run("b", lr="2", seed="0", extra="x", unset="null")
    found = settings_differ([run("a", lr="1", seed="0"), second])  # type: ignore[list-item]
    assert found == [Difference("lr", ("1", "2")), Difference("extra", ("–", "x"))]


def test_origins_say_what_is_the_same_too() -> None:
    found = {each.name: each.values for each in origins([run("a", seed="0"), run("b", seed="1")])}  # type: ignore[list-item]
    assert found["lock"] == ("1", "1")
    assert found["seed"] == ("0", "1")
    assert found["data"] == ("–", "–")


def test_answers_that_lie_elsewhere_are_told_as_that(tmp_path: Path) -> None:
    stage = Record("evaluate.sft", "e", "ran", tags={"stage.key": "ab"})
    [found] = scored([run("a", stage), run("b", stage)], "sft", Settings(home=tmp_path))  # type: ignore[list-item]
    assert found.comparisons == ()
    assert "aren't on this machine" in found.why_not


def test_curves_are_those_of_stages_that_train() -> None:
    base = Record("base", "base", "ran", metrics={"loss": 1.0, "grad_norm": 1.0})
    sft = Record("sft", "sft", "ran", metrics={"loss": 1.0, "grad_norm": 1.0, "steps": 5.0})
    grpo = Record("grpo", "grpo", "ran", metrics={"loss": 1.0, "reward": 0.5, "grad_norm": 1.0})
    quantize = Record("quantize", "quantize", "ran", metrics={"loss": 1.0})
    pairs = curves_in_common([run("a", base, quantize, sft, grpo)])  # type: ignore[list-item]
    assert pairs[:4] == [("sft", "loss"), ("grpo", "loss"), ("base", "loss"), ("grpo", "reward")]
    assert telling(pairs) == [("sft", "loss"), ("base", "loss"), ("grpo", "reward")]
    assert ("quantize", "loss") not in pairs


def test_best_worst_and_other_answers_are_chosen() -> None:
    items = [{"benchmark": "b", "id": str(i), "scores": {"accuracy": i / 10}} for i in range(10)]
    assert [i["id"] for i in examples.choose(items, "b", "accuracy", "worst")] == ["0", "1", "2"]
    assert [i["id"] for i in examples.choose(items, "b", "accuracy", "best")] == ["9", "8", "7"]
    drawn = [[i["id"] for i in examples.choose(items, "b", "accuracy", "random", seed=seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert examples.choose(items, "other", "accuracy", "best") == []
    assert examples.benchmarks(items) == {"b": ["accuracy"]}


def version(name: str, number: str, gate: str, evidence: str = "e") -> Version:
    return Version(name, number, "d", [], time.time() - 10 * int(number), evidence, "", "", {"lapidar.gate": gate})


def row(name: str, status: str, days: float) -> RunRow:
    return RunRow(f"{name}-{days}", name, status, datetime.now(UTC) - timedelta(days=days), 1.0, {})


def test_what_waits_is_told_until_it_is_settled(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, tracking_uri=None, database_url=None)
    database = open_database(settings)
    with database.write() as session:
        for evidence in ("e", "older"):
            row_ = {"tracker": "local", "name": "m", "version": "2", "kind": "promote", "against": "", "position": None}
            session.add(Approval(**row_, evidence=evidence, who="ana", reason="good"))
    database.close()
    versions = [version("m", "2", "pass"), version("m", "1", "unknown"), version("n", "3", "unknown")]
    runs = [row("a", "failed", 0.1), row("b", "finished", 0.2), row("b", "failed", 0.3), row("c", "killed", 30)]
    found = {(each.kind, each.subject) for each in waiting(settings, versions, runs)}
    # not: the approval of older evidence, version 1 of m (there is a newer one), b (it ended well since), c (long ago)
    assert found == {("approval", "models:/m/2"), ("unknown", "models:/n/3"), ("failed", "a-0.1")}
