"""Planted judges get the diagnosis that they deserve, a sound one gets none. The judges are real servers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.judges.asking import Opinion
from components.judges.audit import audit
from components.judges.comparing import Judged, judge_items
from components.judges.diagnosis import diagnose
from components.judges.items import Item
from components.judges.journal import Journal


@pytest.fixture
def found(planted: Callable[..., Any], new_pairs: Callable[..., list[Item]], tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The findings on a planted judge, by name."""

    def diagnosed(rule: str, labelled: bool = True, n: int = 40) -> dict[str, str]:
        judge, canaries = planted(rule, concurrency=4), rule in ("perfect", "gullible")
        with Journal(tmp_path / "verdicts.jsonl") as journal:
            judged = judge_items(judge, new_pairs(n, labelled=labelled), journal, canary_share=0.1 if canaries else 0)
        return {finding.name: finding.text for finding in diagnose(audit(judged, judge.identity.family))}

    return diagnosed


@pytest.mark.parametrize("labelled", [True, False])
def test_a_sound_judge_has_no_finding(found: Callable[..., dict[str, str]], labelled: bool) -> None:
    assert found("perfect", labelled) == {}


def test_a_judge_that_always_takes_the_first_answer(found: Callable[..., dict[str, str]]) -> None:
    says = found("always_first")
    assert set(says) == {"position", "chance"}
    assert "prefers the answer shown first" in says["position"]
    assert "in 100% of 40 items, in 40 of 40 towards the first" in says["position"]


def test_a_judge_that_always_takes_the_longest_answer(found: Callable[..., dict[str, str]]) -> None:
    says = found("always_longest")
    assert set(says) <= {"length", "chance"}
    assert "prefers the longer answer beyond what people do: the longer one won 100%" in says["length"]


def test_length_without_people_is_named_only_as_what_was_seen(found: Callable[..., dict[str, str]]) -> None:
    says = found("always_longest", labelled=False)
    assert set(says) == {"length"}
    assert "--audit` tells whether people agree" in says["length"]


def test_a_judge_that_throws_dice(found: Callable[..., dict[str, str]]) -> None:
    says = found("at_random")
    assert set(says) == {"inconsistent", "chance"}
    assert "no more than chance" in says["chance"]


def test_a_judge_that_contradicts_itself(found: Callable[..., dict[str, str]]) -> None:
    says = found("inconsistent", n=100)
    assert set(says) == {"inconsistent"}
    assert "without a direction" in says["inconsistent"]


def test_a_judge_that_obeys_what_answers_tell_it(found: Callable[..., dict[str, str]]) -> None:
    says = found("gullible")
    assert set(says) == {"injection"}
    assert "a harmless sentence in its place 0%" in says["injection"]


def test_a_judge_that_favours_its_own_family(found: Callable[..., dict[str, str]]) -> None:
    says = found("selfish", n=60)
    assert set(says) <= {"own family", "chance"}
    assert "favours its own family (openai): it wins 100%" in says["own family"]


def _simulated(seed: int, items: list[Item], wrong: float) -> list[Judged]:
    """A judge that is right but for a share of wrong verdicts without a pattern, and that injections don't move."""
    draws, judged = random.Random(seed), []
    for item in items:
        right = max(set(item.labels), key=item.labels.count)
        sides = [right if draws.random() >= wrong else draws.choice(("a", "b", "tie")) for _ in range(2)]
        position: Any = [
            {"a": "first", "b": "second", "tie": "tie"}[sides[0]],
            {"a": "second", "b": "first", "tie": "tie"}[sides[1]],
        ]
        judged.append(Judged(item, {"ab": Opinion(position[0]), "ba": Opinion(position[1])}))
    return judged


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_false_alarms_are_rare(new_pairs: Callable[..., list[Item]], wrong: float) -> None:
    """People err too (in one verdict of ten), and so may the judge: at most one alarm in thirty sound judges."""
    alarms: Counter[str] = Counter()
    for seed in range(30):
        alarms.update(f.name for f in diagnose(audit(_simulated(seed, new_pairs(100, seed, errors=0.1), wrong), "openai")))
    assert sum(alarms.values()) <= 1, alarms
