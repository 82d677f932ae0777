"""``lapidar promote``, ``rollback``, ``audit``, ``models gate`` and ``compare`` over a real registry."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.gate import Evidence, Gate, Reason
from components.registry import Registry
from components.settings import Settings

Cli = Callable[..., tuple[int, str, str]]
ITEMS = 100


@pytest.fixture
def versions(tmp_path: Path) -> None:
    """Three versions: right on 20, 60 and 10 of 100 items; the gates of the first two pass, and each was champion in turn."""
    registry, champion = Registry(Settings(home=tmp_path / "home")), None
    for digest, right, verdict in (("d1", 20, "pass"), ("d2", 60, "pass"), ("d3", 10, "fail")):
        version = register(registry, tmp_path, digest, right, verdict, champion)
        if verdict == "pass":
            registry.promote("tiny", version, gate(digest, verdict, champion))
            champion = digest


def gate(digest: str, verdict: Any, champion: str | None) -> Gate:
    return Gate(verdict, [Reason("champion", verdict, f"the reason of {digest}")], digest, champion)


def register(registry: Registry, folder: Path, digest: str, right: int, verdict: str, champion: str | None) -> str:
    (folder / digest).mkdir()
    (folder / digest / "model.safetensors").write_bytes(digest.encode())
    (folder / f"{digest}.jsonl").write_text(
        "".join(
            json.dumps({"benchmark": "sums", "id": str(i), "group": None, "prompt": "?", "scores": {"accuracy": float(i < right)}})
            + "\n"
            for i in range(ITEMS)
        )
    )
    evidence = Evidence(
        digest=digest,
        recipe={"name": "tiny", "register": {"name": "tiny", "metric": "accuracy"}, "model": {"source": "pretrain"}},
        evaluation={"sums": {name: {"value": 0.0, "low": 0.0, "high": 0.1, "n": ITEMS} for name in ("truncated", "unparsed")}},
        parity={"ok": True, "reload": {"identical_tokens": True, "max_logit_difference": 0.0}}
        | {"reload_merged": {"identical_tokens": True, "max_logit_difference": 0.0}, "merged": {"kl": 1e-6, "top1": 1.0}},
    )
    handle = registry.upload("tiny", {"merged": folder / digest}, digest)
    return registry.register(handle, evidence, gate(digest, verdict, champion), {"items.jsonl": folder / f"{digest}.jsonl"}).version


@pytest.mark.usefixtures("versions")
def test_the_champion_goes_back_and_the_log_says_so(lapidar: Cli, tmp_path: Path) -> None:
    assert lapidar("promote", "models:/tiny/3")[0] == 3
    code, out, _ = lapidar("rollback", "tiny", "--who", "Ada", "--reason", "worse in the field")
    assert code == 0
    assert out == "models:/tiny/1 is champion of tiny again, not version 2; rolled back by Ada: worse in the field\n"
    code, out, _ = lapidar("audit", "tiny", "--verify")
    assert code == 0
    assert "champion 2 → 1" in out
    assert out.endswith("intact: every line follows the one before it, and every alias is where the log says\n")
    code, _, error = lapidar("rollback", "tiny", "--who", "Ada", "--reason", "again")
    assert code == 2, "there is none before the first"
    assert "champion" in error

    with sqlite3.connect(tmp_path / "home" / "lapidar.db") as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("UPDATE audit_log SET who = 'Eve' WHERE who = 'Ada'")
    code, _, error = lapidar("audit", "--verify")
    assert code == 1
    assert error.startswith("lapidar: ")


@pytest.mark.usefixtures("versions")
def test_a_gate_is_decided_again_and_models_are_compared(lapidar: Cli) -> None:
    assert lapidar("models", "gate", "models:/tiny/3", "--who", " Ada ")[0] == 3
    assert lapidar("audit", "tiny")[1].endswith("gate fail  Ada: decided again\n")
    code, out, _ = lapidar("models", "gate", "models:/tiny/3")
    assert code == 3
    assert "models:/tiny/3: gate fail" in out
    assert "worse: -0.500" in out
    assert lapidar("audit", "tiny")[1].endswith("gate fail  lapidar: decided again\n")
    code, out, _ = lapidar("compare", "models:/tiny/2", "models:/tiny/1")
    assert code == 0
    assert "sums accuracy: better: +0.400" in out
    assert out.endswith("better on sums accuracy\n")
    assert "worse on sums accuracy" in lapidar("compare", "models:/tiny/1", "models:/tiny/2")[1]
    assert lapidar("compare", "models:/tiny/2", "models:/tiny/2")[1].endswith("no difference shown\n")
    code, _, error = lapidar("compare", "models:/tiny/2", "nowhere")
    assert code == 2
    assert "'nowhere' is neither a version (models:/NAME/VERSION) nor a folder" in error


@pytest.mark.usefixtures("versions")
def test_benchmarks_of_one_side_only_are_named_for_each_side(lapidar: Cli, tmp_path: Path) -> None:
    sums = [{"benchmark": "sums", "id": str(i), "prompt": "?", "scores": {"accuracy": 1.0}} for i in range(ITEMS)]
    for name, other in (("a", "products"), ("b", "powers")):
        (tmp_path / name).mkdir()
        lines = [*sums, {"benchmark": other, "id": "0", "prompt": "?", "scores": {"accuracy": 1.0}}]
        (tmp_path / name / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    code, out, _ = lapidar("compare", a, b)
    assert code == 0
    assert f"not compared, for only {a} was evaluated on it: products\n" in out
    assert f"not compared, for only {b} was evaluated on it: powers\n" in out
    assert json.loads(lapidar("compare", a, b, "--json")[1])["left_out"] == {"a": ["products"], "b": ["powers"]}
    assert json.loads(lapidar("compare", a, "models:/tiny/1", "--json")[1])["left_out"] == {"a": ["products"], "b": []}


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "models:/tiny/9"], "there is no models:/tiny/9"),
        (["promote", "models:/tiny/3", "--reason", "so"], "add --override"),
        (["rollback", "tinny", "--who", "Ada", "--reason", "so"], "did you mean 'tiny'?"),
        (["audit", "tinny"], "did you mean 'tiny'?"),
    ],
)
def test_wrong_input(lapidar: Cli, arguments: list[str], said: str) -> None:
    code, out, error = lapidar(*arguments)
    assert code == 2
    assert said in error
    assert not out
