import json
from dataclasses import replace
from typing import Any

import pytest

from components.gate import Champion, Evidence, Gate, Item, decide, page
from components.recipe import JudgePolicy, RegisterConfig, VotesPolicy

CONFIG = RegisterConfig(name="m")


def items(right: int, n: int = 200, benchmark: str = "heldout") -> list[Item]:
    return [{"benchmark": benchmark, "id": i, "scores": {"accuracy": float(i < right)}} for i in range(n)]


def evidence(**changes: Any) -> Evidence:
    whole = Evidence(
        digest="new",
        recipe={"export": {"method": "gptq"}},
        evaluation={"heldout": {"accuracy": {"value": 0.5}, "truncated": {"value": 0.0}, "unparsed": {"value": 0.1}}},
        parity={
            "ok": True,
            **{f"reload{part}": {"identical_tokens": True, "max_logit_difference": 0.0} for part in ("", "_merged", "_exported")},
            "merged": {"kl": 0.001, "top1": 0.999},
            "exported": {"kl": 0.1, "top1": 0.9},
        },
    )
    return replace(whole, **changes)


def parity(**changes: Any) -> dict[str, Any]:
    return evidence().parity | changes


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in content.items() if k != key}


CHAMPION = Champion("3", "old", items(60))


def judge(given: Evidence, champion: Champion | None = CHAMPION, ours: list[Item] | None = None) -> Gate:
    return decide(given, champion, CONFIG, items(120) if ours is None else ours)


def texts(gate: Gate, verdict: str) -> str:
    return "; ".join(reason.text for reason in gate.reasons if reason.verdict == verdict)


def test_all_well_passes_with_a_reason_for_each_check() -> None:
    gate = judge(evidence())
    assert gate.verdict == "pass", gate.reasons
    assert {reason.check for reason in gate.reasons} == {"parity", "usable answers", "champion"}
    assert (gate.digest, gate.champion) == ("new", "old")
    assert "heldout accuracy against champion (version 3): better: +0.300 [" in texts(gate, "pass")


def test_rounded_activations_may_be_served_in_other_words() -> None:
    found = {"identical_tokens": False, "same_prompts": True, "max_logprob_difference": 0.05, "ok": True}
    gate = judge(evidence(parity=parity(served=found)), champion=None)
    assert gate.verdict == "pass"
    assert "served: other tokens, as transformers' own answers differ where activations are rounded" in texts(gate, "pass")
    assert judge(evidence(parity=parity(served=found | {"ok": False})), champion=None).verdict == "fail"


def test_first_version_needs_no_champion() -> None:
    gate = judge(evidence(), champion=None)
    assert (gate.verdict, gate.champion) == ("pass", None)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (evidence(parity=parity(ok=False)), "mismatch"),
        (evidence(parity=parity(reload={"identical_tokens": False, "max_logit_difference": 0.0})), "other tokens"),
        (evidence(parity=parity(reload={"identical_tokens": True, "max_logit_difference": 2e-4})), "differ by at most 0.0002"),
        (evidence(parity=parity(reload_merged={"identical_tokens": True, "max_logit_difference": 1})), "reload_merged: identical"),
        (evidence(parity=parity(merged={"kl": 0.6, "top1": 1.0})), "merged: KL 0.6"),
        (evidence(parity=parity(exported={"kl": 0.1, "top1": 0.79})), "exported: KL 0.1 nats a token, top-1 agreement 79.0%"),
        (evidence(parity=parity(exported={"kl": float("nan"), "top1": 1.0})), "exported: KL nan"),
        (evidence(evaluation={"heldout": {"truncated": {"value": 0.3}, "unparsed": {"value": 0}}}), "30.0% truncated"),
        (evidence(evaluation={"heldout": {"truncated": {"value": 0}, "unparsed": {"value": 0.21}}}), "21.0% unparsed"),
    ],
)
def test_what_is_wrong_fails(given: Evidence, text: str) -> None:
    gate = judge(given)
    assert gate.verdict == "fail"
    assert text in texts(gate, "fail")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (evidence(parity={}), "parity was not computed"),
        (evidence(parity=without(parity(), "reload")), "reload: parity was not computed"),
        (evidence(parity=without(parity(), "merged")), "merged: parity was not computed"),
        (evidence(parity=without(parity(), "exported")), "exported: parity was not computed"),
        (evidence(parity=parity(reload={"identical_tokens": True})), "were not compared"),
        (evidence(parity=parity(merged={"kl": 0.1})), "merged: KL or top-1 agreement was not computed"),
        (evidence(evaluation={}), "was not evaluated"),
        (evidence(evaluation={"heldout": {"truncated": {"value": 0}}}), "share unparsed was not measured"),
    ],
)
def test_missing_evidence_is_unknown(given: Evidence, text: str) -> None:
    gate = judge(given)
    assert gate.verdict == "unknown"
    assert text in texts(gate, "unknown")


def test_a_recipe_without_export_needs_no_exported_parity() -> None:
    assert judge(evidence(recipe={}, parity=without(parity(), "exported"))).verdict == "pass"


def test_a_champion_that_is_not_beaten_stays() -> None:
    worse = judge(evidence(), ours=items(20))
    assert worse.verdict == "fail"
    assert "-0.200 [" in texts(worse, "fail")
    assert judge(evidence(), ours=items(60)).verdict == "fail"
    slightly = judge(evidence(), ours=items(62))
    assert slightly.verdict == "fail"
    assert "not shown to be better" in texts(slightly, "fail")


def test_better_on_one_benchmark_and_worse_on_another_fails() -> None:
    champion = Champion("3", "old", items(60) + items(100, benchmark="other"))
    mixed = judge(evidence(), champion, items(120) + items(50, benchmark="other"))
    assert mixed.verdict == "fail"
    assert judge(evidence(), champion, items(120) + items(100, benchmark="other")).verdict == "pass"


def test_the_champion_itself_passes() -> None:
    gate = judge(evidence(digest="old"), ours=[])
    assert gate.verdict == "pass"
    assert "is champion already" in texts(gate, "pass")


@pytest.mark.parametrize(
    ("champion", "ours", "text"),
    [
        (Champion("3", "old", items(60, n=199)), items(120), "was evaluated on other items"),
        (Champion("3", "old", items(60, benchmark="other")), items(120), "was evaluated on other items"),
        (Champion("3", "old", None), items(120), "champion (version 3) has no evaluation items"),
        (CHAMPION, [], "the candidate has no evaluation items with metric 'accuracy'"),
        (None, [], "the candidate has no evaluation items with metric 'accuracy'"),
    ],
)
def test_items_that_cannot_be_compared_are_unknown(champion: Champion | None, ours: list[Item], text: str) -> None:
    gate = judge(evidence(), champion, ours)
    assert gate.verdict == "unknown"
    assert text in texts(gate, "unknown")


def test_fail_goes_before_unknown() -> None:
    assert judge(evidence(evaluation={}, parity=parity(ok=False))).verdict == "fail"


def test_gate_survives_json() -> None:
    gate = judge(evidence())
    assert Gate.from_dict(json.loads(json.dumps(gate.to_dict()))) == gate


def policy(given: Evidence, champion: Champion | None = CHAMPION, ours: list[Item] | None = None, **limits: Any) -> Gate:
    return decide(given, champion, CONFIG.model_copy(update=limits), items(120) if ours is None else ours)


def guarded(right: int, ends: int, n: int = 200) -> list[Item]:
    return [{"benchmark": "b", "id": i, "scores": {"accuracy": float(i < right), "ends": float(i < ends)}} for i in range(n)]


@pytest.mark.parametrize(("margin", "verdict"), [(0.0, "pass"), (0.2, "pass"), (0.25, "fail")])
def test_the_whole_interval_lies_above_the_margin(margin: float, verdict: str) -> None:
    gate = policy(evidence(), margin=margin)
    assert gate.verdict == verdict
    if verdict == "fail":
        assert "no interval lies above +0.250" in texts(gate, "fail")


@pytest.mark.parametrize(("ends", "verdict"), [(150, "pass"), (149, "pass"), (120, "fail")])
def test_a_guarded_metric_may_not_fall(ends: int, verdict: str) -> None:
    gate = policy(evidence(), Champion("3", "old", guarded(60, 150)), guarded(120, ends), guards=("ends",))
    assert gate.verdict == verdict
    assert ("b ends against champion (version 3): worse: -0.150 [" in texts(gate, "fail")) == (verdict == "fail")


@pytest.mark.parametrize("theirs", [items(60), guarded(60, 150)[:100]])
def test_a_guarded_metric_that_cannot_be_compared_is_unknown(theirs: list[Item]) -> None:
    reasons = [
        r
        for r in policy(evidence(), Champion("3", "old", theirs), guarded(120, 150), guards=("ends",)).reasons
        if r.check == "guards"
    ]
    assert [reason.verdict for reason in reasons] == ["unknown"]


@pytest.mark.parametrize(
    ("licence", "verdict", "text"),
    [
        ("MIT", "pass", "MIT is allowed"),
        ("cc-by-nc-4.0", "fail", "allowed are apache-2.0, mit"),
        (None, "unknown", "states no licence"),
    ],
)
def test_only_allowed_licences_pass(licence: str | None, verdict: str, text: str) -> None:
    gate = policy(evidence(licence=licence), licences=("apache-2.0", "mit"))
    assert gate.verdict == verdict
    assert text in texts(gate, verdict)


@pytest.mark.parametrize(
    ("sizes", "verdict", "text"),
    [
        ({"merged": 9 << 20, "export": 3 << 20}, "pass", "export: 3.0 MiB, at most 4.0 allowed"),
        ({"merged": 9 << 20}, "fail", "merged: 9.0 MiB"),
        ({}, "unknown", "not recorded"),
    ],
)
def test_what_is_served_fits_the_budget(sizes: dict[str, int], verdict: str, text: str) -> None:
    gate = policy(evidence(sizes=sizes), max_mb=4.0)
    assert gate.verdict == verdict
    assert text in texts(gate, verdict)


@pytest.mark.parametrize(
    ("found", "verdict", "text"),
    [
        ({"state": "clean", "reason": "0 of 200 items"}, "pass", "clean: 0 of 200 items"),
        ({"state": "contaminated", "reason": "3 of 200 items"}, "fail", "contaminated: 3"),
        ({"state": "not checked", "reason": "no corpus"}, "unknown", "not checked: no corpus"),
        ({}, "unknown", "not checked: no stage looked for it"),
    ],
)
def test_not_checked_is_never_clean(found: dict[str, Any], verdict: str, text: str) -> None:
    gate = policy(evidence(contamination=found), require_clean=True)
    assert gate.verdict == verdict
    assert text in texts(gate, verdict)


@pytest.mark.parametrize(
    ("speed", "verdicts"),
    [
        ({"first_token_ms": 20.0, "tokens_per_second": 200.0}, ["pass", "pass"]),
        ({"first_token_ms": 60.0, "tokens_per_second": 50.0}, ["fail", "fail"]),
        ({"first_token_ms": 20.0}, ["pass", "unknown"]),
        ({}, ["unknown", "unknown"]),
    ],
)
def test_a_chat_is_fast_enough(speed: dict[str, float], verdicts: list[str]) -> None:
    gate = policy(evidence(speed=speed), max_latency_ms=50.0, min_tokens_per_second=100.0)
    assert [reason.verdict for reason in gate.reasons if reason.check == "speed"] == verdicts


def rate(value: float, half: float = 0.05, n: int = 200) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def judgement(kappa: Any = 0.6, consistency: float = 0.9, wins: float = 0.6, against: str = "old") -> dict[str, Any]:
    audit = {"kappa": rate(kappa) if kappa is not None else None, "consistency": rate(consistency)}
    return {"judge": "j", "prompts": "p", "against": against, "win_rate": rate(wins), "audit": audit, "diagnosis": []}


@pytest.mark.parametrize(
    ("found", "verdict", "text"),
    [
        (judgement(), "pass", "j against the champion: win rate 0.600 [0.550, 0.650], n=200"),
        (judgement(wins=0.53), "fail", "has to lie above 0.5"),
        (judgement(kappa=0.2), "unknown", "agreement of j with people (κ): 0.200"),
        (judgement(kappa=0.2, wins=0.1), "unknown", "it may not decide"),
        (judgement(kappa=None), "unknown", "was not measured; this judge may not decide"),
        (judgement(consistency=0.5), "unknown", "position consistency of j: 0.500"),
        (judgement(against="older"), "unknown", "judged against other weights (older)"),
        ({}, "unknown", "no judge compared it"),
    ],
)
def test_a_judge_decides_only_if_it_is_calibrated(found: dict[str, Any], verdict: str, text: str) -> None:
    gate = policy(evidence(judgement=found), judge=JudgePolicy())
    assert gate.verdict == verdict
    assert text in texts(gate, verdict)


@pytest.mark.parametrize(
    ("found", "verdict", "text"),
    [
        ({"win_rate": rate(0.6), "reviewers": 3}, "pass", "200 votes of 3 reviewers: win rate 0.600"),
        ({"win_rate": rate(0.52), "reviewers": 3}, "fail", "has to lie above 0.5"),
        ({"win_rate": rate(0.6), "reviewers": 1}, "unknown", "200 votes of 1 reviewers; it takes 30 of 2"),
        ({"win_rate": rate(0.9, n=29), "reviewers": 3}, "unknown", "29 votes"),
        ({}, "unknown", "0 votes of 0 reviewers"),
    ],
)
def test_votes_decide_only_if_there_are_enough(found: dict[str, Any], verdict: str, text: str) -> None:
    gate = policy(evidence(votes=found), votes=VotesPolicy())
    assert gate.verdict == verdict
    assert text in texts(gate, verdict)


@pytest.mark.parametrize(
    ("benchmarks", "verdict"),
    [
        ({"heldout": {"state": "clean"}}, "pass"),
        ({"heldout": {"state": "not checked", "reason": "no corpus"}}, "unknown"),
        ({"heldout": {"state": "contaminated"}}, "fail"),
        ({"other": {"state": "clean"}}, "unknown"),
    ],
)
def test_every_benchmark_must_be_clean_not_only_the_whole(benchmarks: dict[str, Any], verdict: str) -> None:
    gate = policy(evidence(contamination={"state": "clean", "reason": "", "benchmarks": benchmarks}), require_clean=True)
    assert gate.verdict == verdict


@pytest.mark.parametrize(
    ("asked", "looked_for", "verdict"),
    [
        ({"method": "wordproblems"}, "heldout", "pass"),
        ({"method": "gsm8k", "name": "few", "shots": 5}, "gsm8k", "pass"),
        ({"method": "gsm8k", "name": "few", "shots": 5}, "heldout", "unknown"),
    ],
)
def test_a_benchmark_is_clean_if_the_data_that_it_reads_is(asked: dict[str, Any], looked_for: str, verdict: str) -> None:
    """The search names data, the evaluation names benchmarks."""
    label = str(asked.get("name", asked["method"]))
    found = {"state": "clean", "reason": "", "benchmarks": {looked_for: {"state": "clean"}}}
    given = evidence(recipe={"evaluate": {"benchmarks": [asked]}}, contamination=found)
    given = replace(given, evaluation={label: given.evaluation["heldout"]})
    gate = policy(given, require_clean=True)
    said = [reason.verdict for reason in gate.reasons if reason.check == "contamination"]
    assert said == ["pass", "pass"] + (["unknown"] if verdict == "unknown" else [])


@pytest.mark.parametrize(("half_width", "verdict"), [(0.1, "pass"), (0.31, "fail")])
def test_a_champion_is_beaten_by_more_than_the_noise_floor(half_width: float, verdict: str) -> None:
    known = {"floors": {"heldout": {"accuracy": {"half_width": half_width, "runs": 4}}}}
    assert judge(evidence(noise=known)).verdict == verdict


def test_one_of_many_benchmarks_is_not_enough_to_beat_the_champion_by_chance() -> None:
    champion = Champion("3", "old", [item for name in "abcdef" for item in items(60, benchmark=name)])
    ours = items(67, benchmark="a") + [item for name in "bcdef" for item in items(60, benchmark=name)]
    gate = judge(evidence(), champion, ours)
    assert gate.verdict == "fail"
    assert "corrected for 6 comparisons" in texts(gate, "pass")
    assert judge(evidence(), Champion("3", "old", items(60, benchmark="a")), items(67, benchmark="a")).verdict == "pass"


def test_reasons_carry_their_figures_and_the_page_shows_them_as_text() -> None:
    gate = judge(evidence(licence="<script>"))
    [found] = [reason.figures for reason in gate.reasons if reason.check == "champion"]
    assert (found["value"], found["wins"], found["call"]) == (pytest.approx(0.3), 60, "better")
    shown = page.render("m", policy(evidence(licence="<script>"), licences=("mit",)))
    assert "<script>" not in shown
    assert "&lt;script&gt; isn&#x27;t allowed" in shown
    assert "<svg" in shown
