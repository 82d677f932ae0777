"""Benchmarks with data of their own on the tiny model: answers kept, prompts that don't fit, several answers, reruns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import events
from components.artifacts import BenchmarkRef, Inputs, ModelRef
from components.benchmarks import gpqa_main, gsm8k, mmlu_pro, own
from components.comparison import compare, read_items
from components.data import benchmarks, needs
from components.errors import InputError
from components.evaluate import _answers, harness
from components.inference.harness import EngineLM
from components.settings import Settings
from components.stage import Stage

ROWS = [{"question": f"Tom has {i} apples and buys 1. How many?", "answer": f"{i} + 1\n#### {i + 1}"} for i in range(10)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("benchmarks") / "home")


@pytest.fixture(scope="module")
def stored(settings: Settings) -> dict[str, BenchmarkRef]:
    """Ten GSM8K items with three examples, two MMLU-Pro items of which one is long, a GPQA item."""
    extra = [{"question": f"Ann has {i} pears.", "answer": f"#### {i}"} for i in range(3)]
    made = benchmarks.store("gsm8k", gsm8k.SOURCE, Path("a"), ROWS, (Path("b"), extra), settings)
    short = {**mmlu_pro.SOURCE.sample, "question_id": 1}
    long = {**short, "question_id": 2, "question": "How many? " * 200}
    mmlu = benchmarks.store("mmlu_pro", mmlu_pro.SOURCE, Path("c"), [short, long], None, settings)
    gpqa = benchmarks.store("gpqa_main", gpqa_main.SOURCE, Path("d"), [gpqa_main.SOURCE.sample], None, settings)
    return {made.ref.name: made.ref for made in (made, mmlu, gpqa)}


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> ModelRef:
    return ModelRef(tiny_llama, None, "tiny")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_answers, "_GENERATED", 4)
    monkeypatch.setattr(_answers, "_LEAST", 1)


def read(stage: Stage, name: str) -> Any:
    return json.loads((stage.out / name).read_bytes())


def config(**settings: Any) -> harness.Config:
    return harness.Config(benchmarks=[gsm8k.Config(max_new_tokens=6, **settings)])


def test_a_killed_evaluation_goes_on_with_the_same_answers(
    model: ModelRef,
    stored: dict[str, BenchmarkRef],
    new_stage: Callable[..., Stage],
    small_chunks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampled, inputs = config(n=2, temperature=1.0), Inputs(None, {"model": model}, stored)
    whole, broken = new_stage(), new_stage()
    harness.run(sampled, inputs, whole)
    real, calls = EngineLM.generate_until, list[int]()

    def breaks(self: Any, requests: list[Any], disable_tqdm: bool = False) -> Any:
        calls.append(len(requests))
        if len(calls) == 4:
            raise MemoryError
        return real(self, requests)

    monkeypatch.setattr(EngineLM, "generate_until", breaks)
    with pytest.raises(MemoryError):
        harness.run(sampled, inputs, broken)
    assert not list(broken.out.iterdir()), "a score of a part"
    kept = broken.work / "answers" / "gsm8k-0.jsonl"
    assert len(kept.read_bytes().split(b"\n")) == 13
    kept.write_bytes(kept.read_bytes()[:-9])  # the kill came in the middle of a line
    harness.run(sampled, inputs, broken)
    assert calls == [4, 4, 4, 4, 4, 4, 4], "whole chunks: four of them asked, the torn one again"
    for name in ("items.jsonl", "metrics.json", "spec.json"):
        assert (broken.out / name).read_bytes() == (whole.out / name).read_bytes()
    answers = {answer for item in read_items(whole.out) for answer in item["responses"]}
    assert len(answers) > 15, "every answer is a draw of its own, over chunks too"


def test_a_changed_question_is_asked_again(
    model: ModelRef, stored: dict[str, BenchmarkRef], new_stage: Callable[..., Stage]
) -> None:
    stage, inputs = new_stage(), Inputs(None, {"model": model}, stored)
    harness.run(config(temperature=2.0), inputs, stage)
    first = read_items(stage.out)
    harness.run(config(temperature=2.0, system="Be brief."), inputs, stage)
    second = read_items(stage.out)
    assert [item["response"] for item in first] != [item["response"] for item in second]
    fresh = new_stage()
    harness.run(config(temperature=2.0, system="Be brief."), inputs, fresh)
    assert [item["response"] for item in read_items(fresh.out)] == [item["response"] for item in second]


def test_scores_of_several_answers(model: ModelRef, stored: dict[str, BenchmarkRef], new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    harness.run(config(n=4, k=(1, 2), temperature=0.8), Inputs(None, {"model": model}, stored), stage)
    found = read(stage, "metrics.json")["gsm8k"]
    expected = {"accuracy", "strict", "avg_at_4", "pass_at_1", "maj_at_1", "pass_at_2", "maj_at_2", "truncated", "unparsed"}
    assert found.keys() == expected
    assert found["accuracy"]["n"] == 10
    for item in read_items(stage.out):
        assert len(item["responses"]) == len(item["extracted"]) == 4
        assert item["shares"]["unparsed"] == item["extracted"].count(None) / 4
        assert item["parsed"] == (None not in item["extracted"])


def test_the_hashes_follow_what_is_asked_and_how(
    model: ModelRef, stored: dict[str, BenchmarkRef], new_stage: Callable[..., Stage]
) -> None:
    inputs, seen = Inputs(None, {"model": model}, stored), {}
    changes: dict[str, dict[str, Any]] = {"same": {}, "again": {}, "limit": {"limit": 4}, "shots": {"shots": 1, "cot": False}}
    changes |= {"system": {"system": "Be brief."}, "plain": {"chat": False}, "cot": {"cot": False}, "top_p": {"top_p": 0.5}}
    for name, change in changes.items():
        stage = new_stage()
        harness.run(config(**change), inputs, stage)
        spec = read(stage, "spec.json")["gsm8k"]
        seen[name] = (spec["prompts_sha256"], spec["spec_sha256"])
        assert (spec["items"], spec["of"], spec["lm_eval"]) == (4 if name == "limit" else 10, 1319, "0.4.13")
    assert seen["same"] == seen["again"]
    assert seen["top_p"][0] == seen["same"][0], "the prompts are the same"
    assert len({prompts for prompts, _ in seen.values()}) == len(seen) - 2
    assert len({spec for _, spec in seen.values()}) == len(seen) - 1


def test_the_prompt_is_what_was_asked_for(
    model: ModelRef, stored: dict[str, BenchmarkRef], new_stage: Callable[..., Stage]
) -> None:
    def first_prompt(**change: Any) -> str:
        stage = new_stage()
        harness.run(config(limit=1, **change), Inputs(None, {"model": model}, stored), stage)
        return str(read(stage, "spec.json")["gsm8k"]["first_prompt"])

    assert "step by step" in first_prompt()
    assert "step by step" not in first_prompt(cot=False)
    assert first_prompt().rstrip().endswith("Answer:"), "the plain template asks for an answer"
    assert first_prompt(chat=False).endswith("step by step.")
    assert "Be brief." in first_prompt(system="Be brief.")
    few = first_prompt(cot=False, shots=2)
    assert few.count("pears") == 2
    assert few.count("####") == 2


def test_prompts_that_do_not_fit_count_as_wrong(
    model: ModelRef, stored: dict[str, BenchmarkRef], new_stage: Callable[..., Stage]
) -> None:
    both = [mmlu_pro.Config(max_new_tokens=4), mmlu_pro.Config(name="letters", form="likelihood")]
    stage = new_stage()
    harness.run(harness.Config(benchmarks=both), Inputs(None, {"model": model}, stored), stage)
    for name in ("mmlu_pro", "letters"):
        long = next(item for item in read_items(stage.out) if (item["benchmark"], item["id"]) == (name, "2"))
        assert (set(long["scores"].values()), long["truncated"], long["parsed"]) == ({0.0}, True, False)
        assert read(stage, "metrics.json")[name]["accuracy"]["n"] == 2
        assert read(stage, "spec.json")[name]["overlong"] == (1 if name == "mmlu_pro" else 2)
    said = [event["message"] for event in events.read(stage.events.path)[0] if event["kind"] == "warning"]
    assert said[0].startswith("mmlu_pro: 1 of 2 prompts don't fit into the model's context of 256 tokens; they count as wrong")


def test_a_protected_question_is_not_in_the_items(
    model: ModelRef, stored: dict[str, BenchmarkRef], new_stage: Callable[..., Stage]
) -> None:
    stage = new_stage()
    likelihood = gpqa_main.Config(form="likelihood")
    harness.run(harness.Config(benchmarks=[likelihood]), Inputs(None, {"model": model}, stored), stage)
    (item,) = read_items(stage.out)
    assert item["prompt"].startswith("sha256:")
    assert item["answer"] in ("(A)", "(B)", "(C)", "(D)")
    assert compare([item], [item], ("accuracy",))[0].difference.value == 0
    for file in [*stage.out.iterdir(), stage.events.path]:
        assert b"1 + 1?" not in file.read_bytes(), file


def test_reruns_are_other_draws_of_the_same_evaluation(
    model: ModelRef, stored: dict[str, BenchmarkRef], settings: Settings, tmp_path: Path, new_stage: Callable[..., Stage]
) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Say {i}", "answer": i}) + "\n" for i in range(12)))
    mine = own.Config(path=str(file), scorer="numeric", max_new_tokens=6, temperature=2.0)
    inputs = Inputs(None, {"model": model}, needs.need([mine], settings))
    stage, plain = new_stage(), new_stage()
    harness.run(harness.Config(benchmarks=[mine], reruns=3), inputs, stage)
    harness.run(harness.Config(benchmarks=[mine]), inputs, plain)
    reruns = read(stage, "reruns.json")["own"]
    assert [len(means) for means in reruns.values()] == [3, 3, 3]
    assert len({*reruns["unparsed"], read(stage, "metrics.json")["own"]["unparsed"]["value"]}) > 1
    assert not (plain.out / "reruns.json").exists()
    assert (plain.out / "items.jsonl").read_bytes() == (stage.out / "items.jsonl").read_bytes()


def test_equal_questions_of_other_chunks_get_other_draws(
    model: ModelRef, settings: Settings, tmp_path: Path, new_stage: Callable[..., Stage], small_chunks: None
) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"id": str(i), "prompt": "Say it", "answer": "1"}) + "\n" for i in range(8)))
    mine = own.Config(path=str(file), scorer="numeric", max_new_tokens=12, temperature=2.0)
    stage = new_stage()
    inputs = Inputs(None, {"model": model}, needs.need([mine], settings))
    harness.run(harness.Config(benchmarks=[mine]), inputs, stage)
    answers = [item["response"] for item in read_items(stage.out)]
    assert all(a != b for a, b in zip(answers[:4], answers[4:], strict=True))


def test_more_shots_than_examples(model: ModelRef, stored: dict[str, BenchmarkRef], new_stage: Callable[..., Stage]) -> None:
    with pytest.raises(InputError, match=r"gsm8k: shots=4, but its data has only 3 solved examples"):
        harness.run(config(shots=4, cot=False), Inputs(None, {"model": model}, stored), new_stage())
    with pytest.raises(InputError, match=r"benchmark 'gsm8k' has no data here"):
        harness.run(config(), Inputs(None, {"model": model}), new_stage())
