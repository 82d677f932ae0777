"""The verdict on a rerun: what is called identical, within noise or drifted, and what is blamed."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from components.noise import Floor
from components.reproduction import compare, failed

Evidence = dict[str, Any]


def stage(name: str, **parts: Any) -> dict[str, Any]:
    made = {"digest": f"{name}-digest", "code": f"{name}-code", "versions": {"torch": "2.13.0", "trl": "1.16.0"}, "device": "cpu"}
    return {"name": name, "method": name, "key": f"{name}-key", "status": "ran", "seconds": 1.0, **made, **parts}


@pytest.fixture
def record() -> Evidence:
    return {
        "dataset": {"md5": "aaa.dir"},
        "recipe": {"name": "tiny", "seed": 0, "sft": {"lr": 1e-3}, "align": [{"method": "dpo", "beta": 0.1}]},
        "code": {"revision": "0" * 40, "clean": True},
        "lock": "l0",
        "seeds": {"recipe": 0},
        "machine": {"cpu": "Xeon", "instructions": "avx2 avx512_bf16", "threads": 2},
        "stages": [
            {"name": "data", "method": "wordproblems", "key": "aaa.dir", "digest": "aaa.dir"},
            *(stage(name) for name in ("base", "sft", "dpo", "verify")),
        ],
    }


def items(right: list[float]) -> list[dict[str, Any]]:
    return [{"benchmark": "sums", "id": str(i), "prompt": f"p{i}", "scores": {"accuracy": score}} for i, score in enumerate(right)]


def changed(record: Evidence, first: str, **parts: Any) -> Evidence:
    """A record whose stages from ``first`` on have other outputs; ``parts`` are what was different about that stage."""
    found, differs = deepcopy(record), False
    for each in found["stages"]:
        if each["name"] == first:
            each.update(parts)
            differs = True
        if differs:
            each["digest"] += " other"
    return found


def test_equal_outputs_are_identical_whatever_else_differs(record: Evidence) -> None:
    now = deepcopy(record) | {"lock": "l1", "machine": {"cpu": "EPYC"}, "code": {"revision": "1" * 40, "clean": True}}
    now["stages"][-1]["digest"] = "compares another copy"
    found = compare(record, now, items([1.0, 0.0]), items([0.0, 1.0]))
    assert (found.verdict, found.first, found.causes) == ("identical", None, [])
    assert found.stages == {name: (digest, digest) for name, digest in found_digests(record).items()}


def found_digests(record: Evidence) -> dict[str, str]:
    return {each["name"]: each["digest"] for each in record["stages"] if each["name"] != "verify"}


@pytest.mark.parametrize(
    ("first", "plant", "what", "text"),
    [
        ("data", {"dataset": {"md5": "bbb.dir"}}, "data", "dataset version aaa.dir then, bbb.dir now"),
        ("base", {"seeds": {"recipe": 1}}, "seed", "seed of recipe: 0 then, 1 now"),
        ("base", {"machine": {"cpu": "EPYC", "instructions": "avx2", "threads": 2}}, "hardware", "cpu: Xeon then, EPYC now"),
        (
            "base",
            {"machine": {"cpu": "Xeon", "instructions": "avx2 avx512_bf16", "threads": 8}},
            "hardware",
            "threads: 2 then, 8 now",
        ),
    ],
)
def test_what_was_different_about_the_whole_run_is_named(
    record: Evidence, first: str, plant: dict[str, Any], what: str, text: str
) -> None:
    found = compare(record, changed(record, first) | plant, None, None)
    assert (found.verdict, found.first) == ("drifted", first)
    assert (what, text) in [(cause.what, cause.text) for cause in found.causes]
    assert {cause.what for cause in found.causes} == {what}


@pytest.mark.parametrize(
    ("plant", "what", "text"),
    [
        ({"versions": {"torch": "2.14.0", "trl": "1.16.0"}}, "lock", "torch: 2.13.0 then, 2.14.0 now"),
        ({"versions": {"torch": "2.13.0"}}, "lock", "trl: 1.16.0 then, None now"),
        ({"device": "cuda"}, "hardware", "device: cpu then, cuda now"),
        ({"inputs": {"benchmark:math500": "bbb"}}, "data", "benchmark:math500: aaa then, bbb now"),
        ({"code": "other"}, "code", "the source that sft runs was another one (revisions 000000000000 and 000000000000)"),
    ],
)
def test_what_was_different_about_the_first_stage_is_named(record: Evidence, plant: dict[str, Any], what: str, text: str) -> None:
    record["stages"][2]["inputs"] = {"benchmark:math500": "aaa"}
    found = compare(record, changed(record, "sft", **plant), items([1.0]), None)
    assert (found.verdict, found.first) == ("drifted", "sft")
    assert [(cause.what, cause.text) for cause in found.causes] == [(what, text)]


def test_a_changed_chat_template_of_the_base_is_named(record: Evidence) -> None:
    now = changed(record, "base") | {"chat_template": "b" * 64}
    found = compare(record | {"chat_template": "a" * 64}, now, None, None)
    assert [(c.what, c.text) for c in found.causes] == [
        ("data", "chat template of the base model: aaaaaaaaaaaa then, bbbbbbbbbbbb now")
    ]


def test_a_changed_setting_is_named_with_both_values(record: Evidence) -> None:
    now = changed(record, "dpo")
    now["recipe"] = {"name": "tiny", "seed": 0, "sft": {"lr": 1e-3}, "align": [{"method": "dpo", "beta": 0.2}]}
    found = compare(record, now, None, None)
    assert [(cause.what, cause.text) for cause in found.causes] == [("recipe", "align.0.beta: 0.1 then, 0.2 now")]


def test_what_nothing_explains_is_nondeterminism(record: Evidence) -> None:
    found = compare(record, changed(record, "sft"), None, None)
    assert [cause.what for cause in found.causes] == ["nondeterminism"]
    assert found.causes[0].text == "sft made another output from the same inputs, settings, code and packages"
    del record["machine"]
    assert "or the machine" in compare(record, changed(record, "sft"), None, None).causes[0].text


def test_without_a_noise_floor_nothing_is_within_noise(record: Evidence) -> None:
    """Also where the paired interval leaves room for no difference: that of few items always does."""
    one = [float(i % 3 == 0) for i in range(300)]
    flipped = [1 - score if i % 50 == 0 else score for i, score in enumerate(one)]
    found = compare(record, changed(record, "sft"), items(one), items(flipped))
    assert found.verdict == "drifted"
    assert found.metrics[0].comparison is not None
    assert found.metrics[0].comparison.difference.low < 0 < found.metrics[0].comparison.difference.high
    assert "no noise floor was measured to hold it against" in found.to_dict()["metrics"][0]["text"]


@pytest.mark.parametrize(("half_width", "verdict"), [(0.05, "within noise"), (0.01, "drifted"), (0.0, "drifted")])
def test_a_known_noise_floor_decides_instead_of_the_interval(record: Evidence, half_width: float, verdict: str) -> None:
    one = [float(i % 3 == 0) for i in range(300)]
    fewer = [0.0 if i < 30 else score for i, score in enumerate(one)]  # 10 of 300: the interval excludes zero
    now = changed(record, "sft")
    assert compare(record, now, items(one), items(fewer)).verdict == "drifted"
    found = compare(record, now, items(one), items(fewer), {("sums", "accuracy"): Floor(half_width, 4)})
    assert found.verdict == verdict
    assert ("inside" if verdict == "within noise" else "outside") in found.metrics[0].text


@pytest.mark.parametrize("now", [None, [], items([1.0, 1.0, 1.0])])
def test_without_the_same_items_nothing_is_within_noise(record: Evidence, now: list[dict[str, Any]] | None) -> None:
    found = compare(record, changed(record, "sft"), items([1.0, 1.0]), now)
    assert found.verdict == "drifted"
    assert all(metric.comparison is None for metric in found.metrics)


def test_a_stage_that_only_one_of_them_has_is_a_difference(record: Evidence) -> None:
    shorter = deepcopy(record)
    shorter["stages"] = [each for each in shorter["stages"] if each["name"] != "dpo"]
    shorter["recipe"]["align"] = []
    found = compare(record, shorter, None, None)
    assert found.first == "dpo"
    assert found.stages["dpo"] == ("dpo-digest", None)


def test_a_record_without_stages_is_not_called_identical(record: Evidence) -> None:
    found = compare(record | {"stages": []}, record | {"stages": []}, None, None)
    assert found.verdict == "drifted"
    assert found.causes[0].what == "run"


def test_a_rerun_that_failed_drifted(record: Evidence) -> None:
    found = failed(record, "the rerun made no version: no such file")
    assert found.verdict == "drifted"
    assert found.to_dict()["causes"] == [{"what": "run", "text": "the rerun made no version: no such file"}]
