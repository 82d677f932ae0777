from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Prompts, and answers of two sides."""
    found = {}
    for name, word in (("prompts", None), ("talker", "word " * 30), ("brief", "word")):
        file = tmp_path / f"{name}.jsonl"
        rows = [{"id": i, "prompt": f"Say {i}."} | ({"answer": f"{word}{i}"} if word else {}) for i in range(24)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[name] = str(file)
    return found


def test_a_comparison_with_its_audit_in_words_and_as_json(home: Any, files: dict[str, str]) -> None:
    sides = [files["talker"], files["brief"], files["prompts"]]
    text = home.command("judge", *sides, "--judge", "longest")
    assert "talker against brief: talker is better; win rate 1.000" in text
    assert "length: the longer answer won 100%" in text
    assert "not calibrated" in text
    report = home.command("judge", *sides, "--judge", "longest", "--json")
    assert report["pairs"][0]["wins"] == 24
    assert report["calibrations"] == []


def test_a_calibrated_judge_carries_its_calibration(home: Any, files: dict[str, str], tmp_path: Path) -> None:
    rows = [{"prompt": "p", "a": "long answer", "b": "short", "label": "ab"[i % 2]} for i in range(40)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    audit = home.command("judge", "--audit", str(pairs), "--judge", "longest", "--json")
    assert audit["audit"]["people"]["majority"]["kappa"]["value"] == 0
    text = home.command("judge", files["talker"], files["brief"], files["prompts"], "--judge", "longest")
    assert "calibrated on pairs.jsonl: κ 0.000" in text
    assert "chance: agrees with people no more than chance would" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{talker}", "{brief}", "{prompts}"], "name the judge with --judge"),
        (["{talker}", "{prompts}", "--judge", "longest"], "needs two sides or more and a file of prompts"),
        (["{talker}", "{brief}", "nowhere.jsonl", "--judge", "longest"], "nowhere.jsonl doesn't exist"),
        (["{talker}", "{prompts}", "{prompts}", "--judge", "longest"], "has no 'answer'"),
        (["{talker}", "{brief}", "{prompts}", "--judge", "nobody"], "there is no model 'nobody'"),
        (["{talker}", "{brief}", "{prompts}", "--judge", "http://127.0.0.1:9/v1"], "names no model"),
        (["{talker}", "{brief}", "{prompts}", "--judge", "longest", "--criteria", "none.txt"], "--criteria none.txt can't be read"),
        (["{talker}", "{brief}", "{prompts}", "--judge", "longest", "--prompt", "rubric-1"], "is for --mode rubric"),
        (["{talker}", "{brief}", "{prompts}", "--judge", "longest", "--record", "models:/x/1"], "must be one of exactly two sides"),
        (["{talker}", "--audit", "pandalm", "--judge", "longest"], "takes neither sides nor prompts"),
    ],
)
def test_wrong_use_is_one_sentence(
    files: dict[str, str], arguments: list[str], message: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    from flows import cli

    monkeypatch.setenv("LAPIDAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.argv", ["lapidar", "judge", *(argument.format(**files) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("lapidar: ")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("Both are nice.", "can't judge: none of 24 items has a verdict"),
        (Response("<html>Welcome</html>", 200), "answered with something that isn't JSON; is this the API's URL?"),
        (Response('{"choices": []}', 200), "it isn't OpenAI-compatible or the model failed"),
        (Response("gone", 404), "answered HTTP 404 (gone)"),
    ],
)
def test_a_judge_that_says_no_verdict_is_wrong_input(
    files: dict[str, str], chat_server: Callable[..., Any], says: Any, message: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    from flows import cli

    server, home = chat_server(lambda _: says), tmp_path / "home"
    monkeypatch.setenv("LAPIDAR_HOME", str(home))
    sides = [files["brief"], files["talker"], files["prompts"]]
    monkeypatch.setattr("sys.argv", ["lapidar", "judge", *sides, "--judge", f"{server.url}#m", "--canaries", "0"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert (ended.value.code, message in said) == (2, True), said
    assert said.count("\n") == 1
    assert not list(home.rglob("report.json"))


def test_an_endpoint_that_goes_away_keeps_what_it_said(home: Any, files: dict[str, str], chat_server: Callable[..., Any]) -> None:
    alive = [False]
    server = chat_server(lambda _: "[[A]]" if alive[0] or len(server.requests) <= 9 else Response("gone", 400 if alive[0] else 404))
    command = [
        "judge",
        files["talker"],
        files["brief"],
        files["prompts"],
        "--judge",
        f"{server.url}#m",
        "--concurrency",
        "1",
        "--canaries",
        "0",
    ]
    failed = home.call(*command)
    assert failed.returncode == 2
    assert f"endpoint {server.url} answered HTTP 404 (gone)" in failed.stderr
    assert "9 verdicts are kept, run again to go on" in failed.stderr
    alive[0] = True
    before = len(server.requests)
    report = home.command(*command, "--json")
    assert report["audit"]["position"]["to_first"] == 24
    assert report["diagnosis"][0]["name"] == "position"
    assert len(server.requests) - before == 48 - 9


@pytest.mark.slow
def test_a_model_that_only_tells_stories_is_no_judge(home: Any, files: dict[str, str], stories260k: Path) -> None:
    """The real small model: its outputs hold no verdict, and the command says so and gives no score."""
    sides = [files["brief"], files["talker"], files["prompts"], "--judge", str(stories260k.absolute()), "--judge-tokens", "40"]
    done = home.call("judge", *sides, "--prompt", "pairwise-brief-1", "--json")
    assert done.returncode == 2
    assert "can't judge: none of 24 items has a verdict, because its output never ends in [[A]], [[B]] or [[C]]" in done.stderr
    assert "No score is given; choose a judge that follows instructions" in done.stderr
    assert list(json.loads(done.stdout)) == ["error"]
    too_long = home.call("judge", *sides)
    assert too_long.returncode == 2
    assert "has room for 511 tokens; a conversation has" in too_long.stderr
