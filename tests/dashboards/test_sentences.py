"""Reasons of the gate in both languages: every one that it can give, said in English as it is kept, and in Portuguese."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from components import gate
from components.gate import Champion, Evidence, Item, Reason, decide
from components.recipe import JudgePolicy, RegisterConfig, VotesPolicy
from dashboards.ui import numbers, sentences
from dashboards.ui.text import catalogue

_PARTS = re.compile(r"part_|call_|difference$|corrected$|won$|floor$|no_floor$|inside_floor$|too_few$|detectable$")
SAME = {"identical_tokens": True, "max_logit_difference": 1.25e-5}
CLOSE = {"kl": 0.00123, "top1": 0.9876}
PARITY = {"ok": True, "reload": SAME, "reload_merged": SAME, "reload_exported": SAME, "merged": CLOSE, "exported": CLOSE}
SHARES = {"truncated": {"value": 0.0125}, "unparsed": {"value": 0.5}}


def items(right: int, n: int = 200, benchmark: str = "heldout", metric: str = "accuracy") -> list[Item]:
    return [{"benchmark": benchmark, "id": i, "scores": {metric: float(i < right)}} for i in range(n)]


def rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 1200}


def judged(**changes: Any) -> dict[str, Any]:
    audit = {"kappa": rate(0.6), "consistency": rate(0.9)} | changes.pop("audit", {})
    return {"judge": "j", "against": "old", "win_rate": rate(0.6), "audit": audit} | changes


def found(ours: list[Item] | None = None, champion: Champion | None = None, **changes: Any) -> list[Reason]:
    """What the gate finds of a candidate with other evidence, or under another policy."""
    policy = {name: changes.pop(name) for name in list(changes) if name in RegisterConfig.model_fields and name != "votes"}
    evidence = Evidence(digest="new", recipe={"export": {}}, evaluation={"heldout": SHARES}, parity=PARITY)
    return decide(replace(evidence, **changes), champion, RegisterConfig(name="m", **policy), ours or items(120)).reasons


def everything() -> Iterator[Reason]:
    """Every reason that there is, most of them more than once."""
    old, floors = items(60), {"heldout": {"accuracy": {"half_width": 0.0351, "runs": 4}}}
    yield from found(recipe={"export": {"method": "gptq"}}, parity={"ok": False, "reload": SAME | {"identical_tokens": False}})
    yield from found(parity={})
    yield from found(recipe={"export": {"method": "gptq"}}, parity=PARITY | {"merged": {}, "reload_merged": {"kl": 1}})
    for served in ({}, {"identical_tokens": True, "max_logprob_difference": 0.25}, {"identical_tokens": False} | SAME):
        yield from found(parity=PARITY | {"served": served})
    yield from found(parity=PARITY | {"served": {"identical_tokens": False, "max_logprob_difference": 0.25}})
    yield from found(parity=PARITY | {"served": {"identical_tokens": False, "max_logprob_difference": 0.05, "ok": True}})
    yield from found(evaluation={})
    yield from found(evaluation={"heldout": {}})
    yield from found(metric="other")
    for champion in (
        Champion("3", "new", old),
        Champion("3", "old", None),
        Champion("3", "old", items(60, benchmark="else")),
        Champion("3", "old", old),
        Champion("3", "old", items(118)),
        Champion("3", "old", items(199)),
        Champion("3", "old", [*old, *items(60, benchmark="b")]),
    ):
        ours = [*items(120), *items(70, benchmark="b")] if len(champion.items or []) == 400 else items(120)
        for margin in (0.0, 0.35):
            yield from found(ours, champion, margin=margin, noise={"floors": floors} if margin else {}, guards=("accuracy", "b"))
    yield from found(champion=Champion("3", "old", items(2, 2)), ours=items(2, 2))
    yield from found(guards=("accuracy",))
    for licence in (None, "mit", "gpl-3.0"):
        yield from found(licence=licence, licences=("apache-2.0", "mit"))
    yield from found(licence="mit", licences=())
    for sizes in ({}, {"export": 3 << 30}, {"merged": 3 << 20}):
        yield from found(sizes=sizes, max_mb=1024.5)
    for speed in ({}, {"first_token_ms": 1234.56, "tokens_per_second": 12.3}):
        yield from found(speed=speed, max_latency_ms=1500.0, min_tokens_per_second=20.0)
    for state in ("clean", "contaminated", "not checked"):
        yield from found(contamination={"state": state, "reason": "3 of 200 items"}, require_clean=True)
    yield from found(contamination={"state": "clean", "benchmarks": {"other": {"state": "clean"}}}, require_clean=True)
    yield from found(require_clean=True)
    other = Champion("3", "old", old)
    low = {"audit": {"kappa": rate(0.1), "consistency": rate(0.2)}}
    for judgement in ({}, judged(), judged(against="older"), judged(win_rate=None), judged(**low), judged(audit={"kappa": None})):
        yield from found(champion=other, judgement=judgement, judge=JudgePolicy())
    yield from found(champion=other, judgement=judged(audit={"consistency": {}}), judge=JudgePolicy())
    yield from found(judge=JudgePolicy())
    for votes in ({}, {"win_rate": rate(0.6), "reviewers": 3}, {"win_rate": {"n": 200}, "reviewers": 3}):
        evidence = Evidence(digest="new", evaluation={"heldout": SHARES}, parity=PARITY, votes=votes)
        yield from decide(evidence, other, RegisterConfig(name="m", votes=VotesPolicy()), items(120)).reasons


REASONS = list(everything())


def test_every_reason_has_a_code_and_every_code_a_reason() -> None:
    for file in Path(gate.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reason":
                named = {keyword.arg for keyword in node.keywords}
                assert len(node.args) > 4 or named & {"code", None}, f"{file.name}:{node.lineno}"
    said = {reason.code for reason in REASONS}
    assert "" not in said
    for language in ("en", "pt_BR"):
        assert said == {code for code in catalogue("sentences", language) if not _PARTS.match(code)}, language


def test_in_english_a_reason_is_what_the_gate_keeps() -> None:
    for reason in REASONS:
        assert sentences.reason({**asdict(reason), "text": ""}) == reason.text


def test_in_portuguese_no_reason_is_left_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.ui.text.language", lambda: "pt_BR")
    monkeypatch.setattr(numbers, "language", lambda: "pt_BR")
    english = re.compile(
        r"\b(the|not|with|of|at|most|than|was|won|version|computed|allowed|asked|interval|runs|reload\w*)\b", re.IGNORECASE
    )
    for reason in REASONS:
        said = sentences.reason({**asdict(reason), "text": ""})
        assert said
        assert "{" not in said
        left = said.removesuffix(": 3 of 200 items")  # what a search for contamination said stays in its words
        assert not english.search(left), said
    [size] = {sentences.reason(asdict(reason)) for reason in REASONS if reason.figures.get("mib") == 3072}
    assert size == "exportado: 3.072,0 MiB, no máximo 1.024,5 permitidos"
    lost = [reason for reason in REASONS if reason.check == "champion" and reason.figures.get("call") == "worse"]
    assert sentences.reason(asdict(lost[0])).startswith(
        "heldout accuracy contra a campeã (versão 3): pior: -0,395 [-0,460; -0,322] (intervalo de 95 %; n=200); "
        "0 ganhos, 79 perdidos, p=3,3e-24"
    )


def test_a_reason_of_before_or_of_another_release_stays_as_it_was_kept() -> None:
    kept = {"check": "size", "verdict": "pass", "text": "as it was said"}
    for more in (
        {},
        {"code": "of_another_release"},
        {"code": "size", "figures": {"limit": 3}},
        {"code": "size", "values": {"mib": "x"}},
    ):
        assert sentences.reason(kept | more) == "as it was said"
