from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError, LapidarError
from components.inference.endpoint import Endpoint, EndpointError
from components.judges import prompts, result
from components.judges.answering import Sampling, Side, open_sides
from components.judges.by_chat import ChatJudge
from components.judges.choose import judge as choose
from components.judges.items import Item, Prompt
from components.judges.judgement import judgement
from components.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def asked() -> list[Prompt]:
    return [Prompt(str(i), f"Question {i}?") for i in range(12)]


@pytest.fixture
def sides(tmp_path: Path, asked: list[Prompt]) -> list[str]:
    """Files of answers: good, fair and bad ones."""
    files = []
    for name, quality in (("good", 9), ("fair", 5), ("bad", 1)):
        rows = [
            {"id": p.id, "prompt": p.text, "answer": f"quality {quality} " + "word " * (int(p.id) % 7), "author": name}
            for p in asked
        ]
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(file) for file in files]


def test_a_comparison_is_sealed_with_every_call_and_what_follows(
    planted: Callable[..., ChatJudge], sides: list[str], asked: list[Prompt], settings: Settings
) -> None:
    judge = planted("perfect")
    sealed = result.compare(judge, open_sides(sides, settings), asked, settings)
    report = result.read_report(sealed)
    assert [(p["a"], p["b"], p["wins"], p["win_rate"]["value"]) for p in report["pairs"]] == [
        ("good", "fair", 12, 1.0),
        ("good", "bad", 12, 1.0),
        ("fair", "bad", 12, 1.0),
    ]
    assert [(model["name"], model["ranks"]) for model in report["ranking"]["models"]] == [
        ("good", [1, 1]),
        ("fair", [2, 2]),
        ("bad", [3, 3]),
    ]
    calls = [json.loads(line) for line in (sealed.path / "verdicts.jsonl").read_text().splitlines()]
    assert len(calls) == 3 * 12 * 2 + 20 * 2 * 2
    assert {call["raw"][0].split("\n")[0] for call in calls} == {"I compared them."}
    assert report["diagnosis"] == []
    again = result.compare(judge, open_sides(sides, settings), asked, settings)
    assert again.path == sealed.path
    assert not list((settings.work / "judge").iterdir())


def test_again_asks_again_and_keeps_what_was_said_before(
    chat_server: Callable[..., Any], sides: list[str], asked: list[Prompt], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    says, requests = ["[[A]]"], list[Any]()

    def answer(body: dict[str, Any]) -> str:
        requests.append(body)
        return says[0]

    judge = ChatJudge(Endpoint(chat_server(answer).url, "m"), "endpoint", prompts.load("pairwise-1"))
    plan, both = result.Plan(canary_share=0), open_sides(sides[:2], settings)
    first = result.compare(judge, both, asked, settings, plan)
    same = result.compare(judge, both, asked, settings, plan, again=True)
    assert (len(requests), same, caplog.messages) == (48, first, [])
    says[0] = "[[C]]"
    assert result.compare(judge, both, asked, settings, plan) == first
    other = result.compare(judge, both, asked, settings, plan, again=True)
    assert (other.path, other.digest == first.digest, len(requests)) == (first.path, False, 72)
    assert result.read_report(other)["pairs"][0]["ties"] == 12
    (said,) = caplog.messages
    assert "says something else than before" in said
    assert (first.path.parent / f"{first.key}.replaced-{first.digest[:12]}" / "report.json").exists()


def test_an_endpoint_that_dies_leaves_no_report_and_the_next_call_goes_on(
    planted: Callable[..., ChatJudge], sides: list[str], asked: list[Prompt], settings: Settings, chat_server: Callable[..., Any]
) -> None:
    """The same judge, at the same address, comes back after its death."""
    alive, requests = [False], []

    def answer(body: dict[str, Any]) -> Any:
        from starlette.responses import Response

        requests.append(body)
        return "[[A]]" if alive[0] or len(requests) <= 7 else Response("gone", 503)

    endpoint = Endpoint(chat_server(answer).url, "m", retries=0)
    judge = ChatJudge(endpoint, "endpoint", prompts.load("pairwise-1"), concurrency=1)
    plan = result.Plan(canary_share=0)
    with pytest.raises(EndpointError, match=r"HTTP 503.*7 verdicts are kept, run again to go on"):
        result.compare(judge, open_sides(sides[:2], settings), asked, settings, plan)
    assert not list(settings.root.rglob("report.json"))
    alive[0] = True
    before, slower = len(requests), Sampling(concurrency=1)
    report = result.read_report(result.compare(judge, open_sides(sides[:2], settings), asked, settings, plan, slower))
    assert report["pairs"][0]["items"] == 12
    assert len(requests) - before == 12 * 2 - 7


def test_a_judge_without_a_verdict_is_told_so_with_what_it_says(
    chat_server: Callable[..., Any], sides: list[str], asked: list[Prompt], settings: Settings
) -> None:
    from starlette.responses import Response

    says: list[Any] = ["Once upon a time"]
    judge = ChatJudge(Endpoint(chat_server(lambda _: says[0]).url, "m"), "endpoint", prompts.load("pairwise-1"), concurrency=4)
    with pytest.raises(result.NoVerdict, match=r"none of 12 items has a verdict.*\[\[A\]\].*'Once upon a time'.*No score is given"):
        result.compare(judge, open_sides(sides[:2], settings), asked, settings)
    assert not list(settings.root.rglob("report.json"))
    says[0] = Response(
        b'{"choices": [{"message": {"content": "[[A]] \\ud800"}}]}'
    )  # what was of no use isn't kept for the next call; half a character is no reason to lose the rest
    assert result.read_report(result.compare(judge, open_sides(sides[:2], settings), asked, settings))["pairs"][0]["ties"] == 12


def test_models_answer_the_prompts_and_what_they_said_is_kept(
    chat_server: Callable[..., Any], planted: Callable[..., ChatJudge], asked: list[Prompt], settings: Settings
) -> None:
    good, bad = (chat_server(lambda body, q=q: f"quality {q}") for q in (8, 2))
    models = [Side(name, "", chat=Endpoint(server.url, name)) for name, server in (("good", good), ("bad", bad))]
    sealed = result.compare(planted("perfect"), models, asked[:5], settings, sampling=Sampling(max_tokens=7))
    assert result.read_report(sealed)["pairs"][0]["wins"] == 5
    assert {request["max_tokens"] for request in good.requests} == {7}
    rows = [json.loads(line) for line in (sealed.path / "answers.jsonl").read_text().splitlines()]
    assert [(row["a"], row["b"]) for row in rows] == [("quality 8", "quality 2")] * 5


def test_a_calibration_is_found_by_judges_of_the_same_name_and_prompt_only(
    planted: Callable[..., ChatJudge], new_pairs: Callable[..., list[Item]], settings: Settings
) -> None:
    judge = planted("perfect")
    sealed = result.calibrate(judge, new_pairs(40), "pairs", settings)
    report = result.read_report(sealed)
    assert report["audit"]["people"]["majority"]["kappa"]["value"] == 1
    (found,) = result.calibrations(report["judge"], settings)
    assert found["dataset"] == "pairs"
    for other in ({"name": "another"}, {"prompts": "0" * 64}, {"mode": "rubric"}):
        assert result.calibrations(report["judge"] | other, settings) == []


def test_a_damaged_calibration_counts_for_nothing(
    planted: Callable[..., ChatJudge], new_pairs: Callable[..., list[Item]], settings: Settings
) -> None:
    sealed = result.calibrate(planted("always_first"), new_pairs(20), "pairs", settings)
    report = result.read_report(sealed)
    file = sealed.path / "report.json"
    file.write_text(file.read_text().replace('"rate"', '"Rate"'))
    assert result.calibrations(report["judge"], settings) == []


def test_a_judgement_is_about_the_model_and_carries_the_worst_calibration(
    sides: list[str], asked: list[Prompt], settings: Settings
) -> None:
    rule = choose("longest", settings)
    texts = [("long answer", "short") if i % 2 else ("short", "long answer") for i in range(40)]
    items = [Item(str(i), "Q?", *pair, labels=("a" if i % 2 or i % 8 == 0 else "b",)) for i, pair in enumerate(texts)]
    wrong = [Item(str(i), "Q?", *pair, labels=("a" if i % 4 < 2 else "b",)) for i, pair in enumerate(texts)]
    for name, pairs in (("fair", items), ("worse", wrong)):
        result.calibrate(rule, pairs, name, settings)
    report = result.read_report(result.compare(rule, open_sides(sides[:2], settings), asked, settings))
    calibrations = result.calibrations(report["judge"], settings)
    mine, theirs = (judgement(report, calibrations, side, "0" * 64) for side in ("good", "fair"))
    assert mine["win_rate"]["value"] == pytest.approx(1 - theirs["win_rate"]["value"])
    assert mine["audit"]["kappa"]["value"] == 0
    assert mine["audit"]["calibrated_on"] == "worse"
    assert mine["audit"]["consistency"]["value"] == 1
    assert mine["against"] == "0" * 64
    assert judgement(report, [], "good", "")["audit"]["kappa"] is None
    report["audit"]["unparsed"]["value"] = 0.2
    assert judgement(report, calibrations, "good", "")["win_rate"] is None
    with pytest.raises(InputError, match="one of them 'other'"):
        judgement(report, [], "other", "")


def test_two_commands_do_not_make_one_result_at_once(sides: list[str], asked: list[Prompt], settings: Settings) -> None:
    class Nested:
        """Asks for the very result that is being made."""

        identity, settings = choose("longest", settings).identity, {}

        def ask(self, questions: Any, on_opinion: Any) -> None:
            result.compare(self, open_sides(sides[:2], settings_of_test), asked, settings_of_test)

    settings_of_test = settings
    with pytest.raises(LapidarError, match="another command makes this very result"):
        result.compare(Nested(), open_sides(sides[:2], settings), asked, settings)
