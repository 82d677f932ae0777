"""Which version the registry lets become champion, and what it keeps of the decision."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from components.database.models import PromotionOverride
from components.errors import InputError
from components.gate import Champion, Gate, Reason
from components.registry import GateError, Override, Registry
from components.settings import Settings
from tests.components.registered import evidence, folders, gate, items, registered


def test_champion_comes_with_the_items_it_was_registered_with(registry: Registry, tmp_path: Path) -> None:
    assert registry.champion("tiny") is None
    version = registered(registry, tmp_path)
    assert registry.champion("tiny") is None
    assert registry.promote("tiny", version.version, gate()).aliases == ["candidate", "champion"]
    champion = registry.champion("tiny")
    assert isinstance(champion, Champion)
    assert (champion.version, champion.digest) == ("1", "d1")
    assert [item["scores"]["accuracy"] for item in champion.items or []] == [0.0, 1.0]
    assert (champion.items or [])[0]["answer"] == "a\u2028b"


def test_only_a_green_gate_promotes(registry: Registry, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    for verdict in ("fail", "unknown"):
        with pytest.raises(GateError, match=f"its gate is {verdict} .*because"):
            registry.promote("tiny", version.version, gate(verdict))
    with pytest.raises(GateError, match="about other weights"):
        registry.promote("tiny", version.version, gate(digest="d2"))
    assert registry.champion("tiny") is None


def test_a_gate_decided_against_an_older_champion_does_not_promote(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "d1")
    registered(registry, tmp_path, "d2")
    registry.promote("tiny", "1", gate())
    with pytest.raises(GateError, match="the champion has changed"):
        registry.promote("tiny", "2", gate(digest="d2", champion=None))
    assert registry.promote("tiny", "2", gate(digest="d2", champion="d1")).aliases == ["candidate", "champion"]
    assert [v.aliases for v in registry.list_versions("tiny")] == [["candidate", "champion"], []]


def test_an_override_promotes_and_is_logged_for_good(registry: Registry, home: Settings, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    for override in (Override("", "why"), Override("Ada", " ")):
        with pytest.raises(InputError, match="needs the name"):
            registry.promote("tiny", "1", gate("fail"), override)
    promoted = registry.promote("tiny", "1", gate("fail"), Override("Ada", "needed for the demo"))
    assert "champion" in promoted.aliases
    assert promoted.tags["lapidar.override.who"] == "Ada"
    assert promoted.tags["lapidar.gate"] == "fail"
    with registry._database.read() as session:
        [row] = session.scalars(select(PromotionOverride)).all()
    assert (row.who, row.reason, row.version, row.digest) == ("Ada", "needed for the demo", "1", "d1")
    [shown] = Registry(home).show(version.uri)["overrides"]
    assert (shown["who"], shown["gate"]["verdict"]) == ("Ada", "fail")


def test_a_champion_registered_again_keeps_its_first_verdict(registry: Registry, tmp_path: Path) -> None:
    version = registered(registry, tmp_path)
    registry.promote("tiny", "1", gate())
    handle = registry.upload("tiny", folders(tmp_path / "d1", b"d1"), "d1")
    itself = Gate("pass", [Reason("champion", "pass", "is champion already")], "d1", "d1")
    again = registry.register(handle, evidence(), itself, items(tmp_path / "d1.jsonl"))
    assert (again.version, again.aliases) == (version.version, ["candidate", "champion"])
    assert registry.show(again.uri)["gate"] == gate().to_dict()
