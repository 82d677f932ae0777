"""Who becomes champion, who was before, and the log of it: over a real registry."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from components import aliases, mlflow_client
from components.errors import InputError
from components.gate import Evidence, Gate, Reason
from components.registry import ApprovalNeeded, GateError, Override, Registry
from components.settings import Settings

PARITY = {
    "ok": True,
    **{name: {"identical_tokens": True, "max_logit_difference": 0.0} for name in ("reload", "reload_merged")},
    "merged": {"kl": 1e-6, "top1": 1.0},
}
SHARES = {name: {"value": 0.0, "low": 0.0, "high": 0.1, "n": 4} for name in ("truncated", "unparsed")}


def gate(digest: str, champion: str | None = None, verdict: Any = "pass") -> Gate:
    return Gate(verdict, [Reason("champion", verdict, "planted")], digest, champion)


def register(
    registry: Registry, folder: Path, digest: str, verdict: Any = "pass", champion: str | None = None, **policy: Any
) -> str:
    weights = folder / digest
    weights.mkdir(exist_ok=True)
    (weights / "model.safetensors").write_bytes(digest.encode())
    handle = registry.upload("tiny", {"merged": weights}, digest)
    evidence = Evidence(
        digest,
        recipe={"register": {"name": "tiny", **policy}},
        parity=PARITY,
        evaluation={"sums": SHARES},
        licence="mit",
    )
    file = folder / f"{digest}.jsonl"
    file.write_text('{"benchmark": "sums", "id": "1", "prompt": "p", "scores": {"accuracy": 1.0}}\n')
    return registry.register(handle, evidence, gate(digest, champion, verdict), {"items.jsonl": file}).version


@pytest.fixture
def three(registry: Registry, tmp_path: Path) -> Registry:
    """Three versions that were champion one after the other."""
    champion = None
    for digest in ("d1", "d2", "d3"):
        registry.promote("tiny", register(registry, tmp_path, digest, champion=champion), gate(digest, champion))
        champion = digest
    return registry


def champion(registry: Registry) -> str | None:
    found = registry.champion("tiny")
    return found.version if found else None


def test_every_move_of_an_alias_is_a_line(three: Registry) -> None:
    lines = three.audit("tiny")
    assert [(line["action"], line["alias"], line["from_version"], line["to_version"]) for line in lines] == [
        ("register", "candidate", None, "1"),
        ("promote", "champion", None, "1"),
        ("register", "candidate", "1", "2"),
        ("promote", "champion", "1", "2"),
        ("register", "candidate", "2", "3"),
        ("promote", "champion", "2", "3"),
    ]
    assert [line["who"] for line in lines if line["action"] == "promote"] == ["gate"] * 3
    assert three.audit_faults() == []


def test_promoting_the_champion_again_is_no_move(three: Registry) -> None:
    three.promote("tiny", "3", gate("d3", "d2"))
    assert len(three.audit("tiny")) == 6


def test_rolling_back_goes_back_by_the_log_one_champion_at_a_time(three: Registry) -> None:
    assert three.rollback("tiny", "Ada", "it answers in rhyme").version == "2"
    assert three.rollback("tiny", "Ada", "this one too").version == "1"
    assert champion(three) == "1"
    with pytest.raises(InputError, match="no previous champion: version 1 is the first"):
        three.rollback("tiny", "Ada", "and this one")
    last = three.audit("tiny")[-1]
    assert (last["action"], last["who"], last["reason"], last["from_version"]) == ("rollback", "Ada", "this one too", "2")
    three.promote("tiny", "3", gate("d3", "d1"))
    assert three.rollback("tiny", "Ada", "still rhymes").version == "1"
    assert three.audit_faults() == []


def test_rolling_back_needs_a_champion_a_name_and_a_reason(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path, "d1")
    with pytest.raises(InputError, match="has no champion"):
        registry.rollback("tiny", "Ada", "why not")
    for who, reason in (("", "why"), ("Ada", " ")):
        with pytest.raises(InputError, match="name and a reason"):
            registry.rollback("tiny", who, reason)


def test_a_deleted_champion_is_not_rolled_back_to(three: Registry, home: Settings) -> None:
    mlflow_client.connect(home, None, "lapidar").client.delete_model_version("tiny", "2")
    with pytest.raises(InputError, match="version 2, the champion before, was deleted"):
        three.rollback("tiny", "Ada", "it rhymes")
    assert champion(three) == "3"


def test_an_alias_moved_by_hand_shows(three: Registry, home: Settings) -> None:
    mlflow_client.connect(home, None, "lapidar").client.set_registered_model_alias("tiny", "champion", "1")
    [fault] = three.audit_faults()
    assert fault == "champion of tiny is version 1; line 6 of the audit log says version 3"
    with pytest.raises(InputError, match="somebody moved the alias by hand"):
        three.rollback("tiny", "Ada", "it rhymes")


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit_log SET who = 'Eve' WHERE position = 4", "line 4 was changed"),
        ("UPDATE audit_log SET hash = previous WHERE position = 4", "line 5 doesn't follow the line before it"),
        ("DELETE FROM audit_log WHERE position = 4", "line 4 of the audit log is missing"),
        ("DELETE FROM audit_log WHERE position = 6", "the end of the audit log is missing"),
    ],
)
def test_a_changed_log_shows(three: Registry, statement: str, fault: str) -> None:
    with three._database.engine.begin() as connection, pytest.raises(Exception, match="only ever added to"):
        connection.execute(text(statement))
    with three._database.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_log_no_UPDATE"))
        connection.execute(text("DROP TRIGGER audit_log_no_DELETE"))
        connection.execute(text(statement))
    assert any(fault in found for found in three.audit_faults()), three.audit_faults()


def test_two_people_where_the_policy_says_so(registry: Registry, tmp_path: Path) -> None:
    version = register(registry, tmp_path, "d1", approvals=2)
    with pytest.raises(InputError, match="say who you are"):
        registry.promote("tiny", version, gate("d1"))
    with pytest.raises(ApprovalNeeded, match=r"1 of 2 people agreed \(Ada\)"):
        registry.promote("tiny", version, gate("d1"), who="Ada")
    assert champion(registry) is None
    [waiting] = registry.show("models:/tiny/1")["pending"]
    assert (waiting["who"], waiting["kind"]) == ("Ada", "promote")
    with pytest.raises(InputError, match="ada agreed already"):
        registry.promote("tiny", version, gate("d1"), who=" ada ")
    promoted = registry.promote("tiny", version, gate("d1"), who="Grace")
    assert "champion" in promoted.aliases
    assert registry.show("models:/tiny/1")["pending"] == []
    assert [(line["action"], line["who"]) for line in registry.audit("tiny")[1:]] == [
        ("approve", "Ada"),
        ("approve", "Grace"),
        ("promote", "Ada, Grace"),
    ]


def test_an_override_needs_the_second_person_too_and_keeps_both_reasons(registry: Registry, tmp_path: Path) -> None:
    version = register(registry, tmp_path, "d1", "fail", approvals=2)
    with pytest.raises(GateError, match="its gate is fail"):
        registry.promote("tiny", version, gate("d1", verdict="fail"), who="Ada")
    with pytest.raises(ApprovalNeeded):
        registry.promote("tiny", version, gate("d1", verdict="fail"), Override("Ada", "for the demo"))
    registry.promote("tiny", version, gate("d1", verdict="fail"), Override("Grace", "seen it"))
    [logged] = registry.show("models:/tiny/1")["overrides"]
    assert (logged["who"], logged["reason"]) == ("Ada, Grace", "Ada: for the demo; Grace: seen it")
    assert datetime.fromisoformat(logged["at"]).tzinfo is not None


@pytest.mark.parametrize("statement", ["UPDATE overrides SET who = 'Eve'", "DELETE FROM overrides"])
def test_an_override_that_is_not_the_logs_shows(registry: Registry, tmp_path: Path, statement: str) -> None:
    version = register(registry, tmp_path, "d1", "fail")
    registry.promote("tiny", version, gate("d1", verdict="fail"), Override("Ada", "for the demo"))
    assert registry.audit_faults() == []
    with registry._database.engine.begin() as connection:
        connection.execute(text(statement))
    assert "the override of models:/tiny/1 by Ada stands in the audit log only" in registry.audit_faults()[-1]


def test_approvals_lapse_with_the_evidence_that_they_rest_on(registry: Registry, tmp_path: Path) -> None:
    version = register(registry, tmp_path, "d1", approvals=2)
    with pytest.raises(ApprovalNeeded):
        registry.promote("tiny", version, gate("d1"), who="Ada")
    registry.supplement("models:/tiny/1", {"votes": {"reviewers": 1}})
    assert registry.show("models:/tiny/1")["pending"] == []
    with pytest.raises(ApprovalNeeded, match="1 of 2"):
        registry.promote("tiny", version, gate("d1"), who="Grace")


@pytest.mark.parametrize("alias_moved", [False, True])
def test_what_a_killed_process_began_the_next_command_finishes(
    registry: Registry, home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alias_moved: bool
) -> None:
    version = register(registry, tmp_path, "d1")

    class Killed(BaseException):
        pass

    def die(ledger: aliases.Ledger, connection: Any) -> None:
        if alias_moved:
            connection.client.set_registered_model_alias("tiny", "champion", "1")
        raise Killed

    with monkeypatch.context() as patch:
        settle = aliases.Ledger.settle
        calls = iter([settle, die])
        patch.setattr(aliases.Ledger, "settle", lambda *given: next(calls)(*given))
        with pytest.raises(Killed):
            registry.promote("tiny", version, gate("d1"))
    assert len(list(registry._ledger.faults(registry._connection))) == 0, "an open move justifies both places"
    assert champion(Registry(home)) == "1"
    assert [line["action"] for line in registry.audit()] == ["register", "promote"]


def test_a_move_to_a_version_that_was_deleted_meanwhile_is_undone(
    three: Registry, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        settle = aliases.Ledger.settle
        calls = iter([settle, lambda *_: []])
        patch.setattr(aliases.Ledger, "settle", lambda *given: next(calls)(*given))
        three.rollback("tiny", "Ada", "it rhymes")
    mlflow_client.connect(home, None, "lapidar").client.delete_model_version("tiny", "2")
    assert champion(three) == "3"
    assert three.audit("tiny")[-1]["action"] == "undo"
    assert three.audit_faults() == []


def test_evidence_that_comes_later_decides_the_gate_again(three: Registry, tmp_path: Path) -> None:
    register(three, tmp_path, "d4", "unknown", "d3", require_clean=True, metric="accuracy")
    shown = three.supplement(
        "models:/tiny/4", {"contamination": {"state": "clean", "reason": "0 of 1", "benchmarks": {}}}, who="Ada"
    )
    found = {reason["check"]: reason["verdict"] for reason in shown["gate"]["reasons"]}
    assert found["contamination"] == "pass"
    assert shown["evidence"]["contamination"]["state"] == "clean"
    assert shown["gate"]["champion"] == "d3"
    assert three.items("models:/tiny/4") == [{"benchmark": "sums", "id": "1", "prompt": "p", "scores": {"accuracy": 1.0}}]
    again = three.supplement("models:/tiny/4", {"contamination": {"state": "contaminated", "reason": "1 of 1"}})
    assert again["gate"]["verdict"] == "fail"
    assert [line["action"] for line in three.audit("tiny")[-2:]] == ["evidence", "evidence"]
    assert three.audit("tiny")[-2]["who"] == "Ada"
    with pytest.raises(InputError, match="'licence' can't be added"):
        three.supplement("models:/tiny/4", {"licence": "mit"})
    with pytest.raises(InputError, match="'sums' was evaluated already"):
        three.supplement("models:/tiny/4", {}, [{"benchmark": "sums", "id": "2", "scores": {}}])


def test_a_champion_keeps_its_first_comparison_when_it_is_decided_again(three: Registry) -> None:
    shown = three.supplement("models:/tiny@champion", {"votes": {"reviewers": 3}})
    assert [reason["text"] for reason in shown["gate"]["reasons"] if reason["check"] == "champion"] == ["planted"]
    assert shown["gate"]["champion"] == "d2"


def test_the_gate_is_a_page_and_a_document_beside_the_version(three: Registry, home: Settings, tmp_path: Path) -> None:
    version = three.resolve("models:/tiny/3")
    connection = mlflow_client.connect(home, None, "lapidar")
    page = connection.download(version.location, "gate.html", tmp_path).read_text()
    assert "<span class=pass>pass</span>" in page
    assert "planted" in page
    assert connection.download(version.location, "gate.json", tmp_path).read_text().startswith("{")
