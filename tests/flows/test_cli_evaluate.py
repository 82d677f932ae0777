"""``lapidar evaluate`` through the real command line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import suites
from components.settings import Settings
from flows import cli, scores

OWN = [
    {"id": f"q{i}", "prompt": f"How much is {i} and 1?", "answer": i + 1, "group": "odd" if i % 2 else "even"} for i in range(12)
]
SUITE = """name: mine
evaluate:
  benchmarks:
    - {method: own, path: own.jsonl, scorer: numeric, max_new_tokens: 8}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in OWN))
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["MODEL", "gsm9k"], "no suite 'gsm9k': neither a built-in suite, nor a benchmark, nor a file; did you mean 'gsm8k'?"),
        (["MODEL", "gsm8k"], "benchmark 'gsm8k' has no data in"),
        (["MODEL", "gsm8k", "shotz=3"], "unknown key 'evaluate.benchmarks.0.shotz'; did you mean 'shots'?"),
        (["MODEL", "gsm8k", "n=4", "temperature=1", "k=[8]"], "k=8 can't be estimated from n=4 answers"),
        (["MODEL", "gsm8k", "n=4"], "n=4 answers at temperature 0 are n times the same one"),
        (["MODEL", "wordproblems"], "reads a dataset's held-out split: give a suite with a 'data' section, or a recipe"),
        (["MODEL", "suite.yaml", "path=none.jsonl"], "none.jsonl doesn't exist"),
        (["MODEL", "suite.yaml", "shots=2"], "own: shots=2, but its data has only 0 solved examples"),
        (["MODEL", "suite.yaml", "evaluate.num_fewshot=2"], "num_fewshot=2 is for benchmarks over a dataset's held-out split"),
        (["none", "suite.yaml"], "none"),
        (
            ["http://127.0.0.1:9/v1#m", "mmlu_pro", "form=likelihood"],
            "which a chat endpoint doesn't give; set its form to generate",
        ),
        (["http://127.0.0.1:9/v1", "suite.yaml"], "endpoint"),
        (["MODEL", "suite.yaml", "--cron", "0 3 * * *"], "the local services"),
    ],
)
def test_wrong_input_is_told_before_anything_runs(
    arguments: list[str],
    said: str,
    folder: Path,
    tiny_llama: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LAPIDAR_HOME", str(folder / "home"))
    given = [str(tiny_llama) if argument == "MODEL" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["lapidar", "evaluate", *given])
    assert cli._run(False) == 2
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text
    assert not (folder / "home" / "store").exists()


def test_a_recipe_is_a_suite_too(tiny_recipe: Any) -> None:
    found = suites.load("models:/tiny/1", str(Path(__file__).parents[1] / "recipes" / "tiny.yaml"), ["seed=3", "limit=2"])
    assert (found.name, found.seed, found.model.source) == ("tiny", 3, "models:/tiny/1")
    assert found.data == tiny_recipe.data
    assert (found.sft, found.align, found.register_) == (None, [], None)
    assert [benchmark.limit for benchmark in found.evaluate.benchmarks] == [2]  # type: ignore[attr-defined]


def test_every_built_in_suite_is_whole() -> None:
    assert suites.builtin()
    for name in suites.builtin():
        loaded = suites.load("anything", name)
        assert loaded.name == name
        assert loaded.data is None


def test_marks_and_comparison(folder: Path) -> None:
    """Better is said where the corrected p-value and the interval say so, and nowhere else."""

    def items(name: str, right: Callable[[int], float]) -> Path:
        (folder / name).mkdir()
        rows = [{"benchmark": "b", "id": str(i), "group": None, "prompt": "", "scores": {"accuracy": right(i)}} for i in range(200)]
        (folder / name / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder / name

    good, poor = items("good", lambda i: float(i % 2 == 0)), items("poor", lambda i: float(i % 5 == 0))
    near = items("near", lambda i: float(i % 2 == 0 or i == 1))
    settings = Settings(home=folder / "home")
    found = {name: scores.compare(good, other, settings)["b"] for name, other in (("poor", poor), ("near", near), ("same", good))}
    assert [test["accuracy"]["call"] for test in found.values()] == ["better", "no difference shown", "no difference shown"]
    assert scores.compare(poor, good, settings)["b"]["accuracy"]["call"] == "worse"
    assert scores.marked({"truncated": {"value": 0.02}, "unparsed": {"value": 0.021}}) == ["unparsed"]
    assert scores.marked({"a.truncated": {"value": 0.5}, "b.truncated": {"value": 0}}, "b.accuracy") == []


@pytest.mark.slow
def test_a_folder_is_measured_once_and_compared(home: Any, folder: Path, tiny_llama: Path) -> None:
    for name in ("own.jsonl", "suite.yaml"):
        (home.beside / name).write_bytes((folder / name).read_bytes())
    command = ["evaluate", str(tiny_llama), "suite.yaml", "evaluate.reruns=2", "--json"]
    done = home.call(*command, "--compare", str(tiny_llama))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    own = found["benchmarks"]["own"]
    assert own["metrics"]["accuracy"]["n"] == 12
    assert {"accuracy@odd", "accuracy@even"} <= own["metrics"].keys()
    assert len(own["spec"]["prompts_sha256"]) == len(own["spec"]["spec_sha256"]) == 64
    assert len(own["reruns"]["accuracy"]) == 2
    assert found["comparison"]["benchmarks"]["own"]["accuracy"]["call"] == "no difference shown"
    assert "own: 12 items; too few to show any difference" in done.stderr
    assert {stage["status"] for stage in found["stages"]} == {"ran"}
    again = home.command(*command)
    assert {stage["status"] for stage in again["stages"]} == {"cached"}
    assert again["benchmarks"] == found["benchmarks"]
    anew = home.command(*command, "--again")
    assert [stage["status"] for stage in anew["stages"]] == ["cached", "ran"]
    text = home.command("evaluate", str(tiny_llama), "suite.yaml", "evaluate.reruns=2")
    assert "±" in text
    assert home.left_behind() == []


@pytest.mark.slow
def test_an_endpoint_that_was_killed_is_taken_up_again(home: Any, folder: Path, chat_server: Callable[..., Any]) -> None:
    from starlette.responses import JSONResponse

    working, count = [False], [0]

    def answer(body: dict[str, Any]) -> Any:
        count[0] += 1
        return "The answer is 3." if working[0] or count[0] <= 4 else JSONResponse({"error": "gone"}, 503)

    (home.beside / "own.jsonl").write_bytes((folder / "own.jsonl").read_bytes())
    (home.beside / "suite.yaml").write_text(SUITE)
    server = chat_server(answer)
    command = ["evaluate", f"{server.url}#tiny", "suite.yaml", "evaluate.retries=0", "evaluate.concurrency=1"]
    broken = home.call(*command)
    assert broken.returncode == 2
    assert "answered HTTP 503" in broken.stderr
    assert "4 of this step's 12 answers came and are kept: run the same command again" in broken.stderr
    working[0], asked = True, len(server.requests)
    text = home.command(*command)
    assert len(server.requests) - asked == 8
    assert "0.083" in text, "one of twelve is right"


@pytest.mark.slow
def test_an_evaluation_is_scheduled(new_home: Callable[[str], Any], folder: Path, tiny_llama: Path) -> None:
    home = new_home("evaluate")
    for name in ("own.jsonl", "suite.yaml"):
        (home.beside / name).write_bytes((folder / name).read_bytes())
    home.command("up")
    try:
        made = home.command("evaluate", str(tiny_llama), "suite.yaml", "--every", "10s", "--json")
        assert (made["name"], made["when"]) == ("evaluate-mine", "every 10s")
        limit = time.monotonic() + 240
        while not list((home.path / "store").glob("evaluate/*/manifest.json")) and time.monotonic() < limit:
            time.sleep(0.5)
        assert list((home.path / "store").glob("evaluate/*/manifest.json"))
        assert [each["name"] for each in home.command("deploy", "--json")] == ["evaluate-mine"]
        assert home.command("deploy", "evaluate-mine", "--remove", "--json") == {"name": "evaluate-mine", "removed": True}
    finally:
        home.command("down")
    assert Settings(home=home.path).stages.exists()
