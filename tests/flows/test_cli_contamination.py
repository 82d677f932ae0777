"""``lapidar contamination`` as a user runs it, and what a run and a version say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.conftest import Home

QUESTION = "Ann walks 3 miles to school on Monday and 5 miles on Tuesday. How far did she walk?"
OTHERS = [f"Which green frog sang all night in pond number {i} of the old valley?" for i in range(3)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Corpus, benchmark, and an evaluation of the benchmark."""
    corpus, suite, evaluation = tmp_path / "corpus.jsonl", tmp_path / "suite.jsonl", tmp_path / "evaluation"
    corpus.write_text(json.dumps({"text": "nothing"}) + "\n" + json.dumps({"text": f"Q: {QUESTION} A: 8"}) + "\n")
    rows = [{"id": str(i), "question": text, "answer": "8"} for i, text in enumerate([QUESTION, *OTHERS])]
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation.mkdir()
    items = [
        {"benchmark": "x", "id": r["id"], "prompt": r["question"], "scores": {"accuracy": float(r["id"] == "0")}} for r in rows
    ]
    (evaluation / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(corpus), str(suite), str(evaluation)


def test_matches_are_shown_with_scores_without_them(home: Home, files: tuple[str, str, str]) -> None:
    corpus, suite, evaluation = files
    quick = ("--methods", "exact,ngram,minhash", "--require", "exact,ngram,minhash", "--workers", "1")
    found = home.command("contamination", corpus, suite, *quick, "--evaluation", evaluation, "--json")
    assert (found["state"], found["benchmarks"]["suite"]["flagged"], found["rows"]) == ("contaminated", 1, {"corpus.jsonl": 2})
    accuracy = found["scores"]["x"]["accuracy"]
    assert [(accuracy[part]["value"], accuracy[part]["n"]) for part in ("all", "without")] == [(0.25, 4), (0.0, 3)]
    said = home.command("contamination", corpus, suite, *quick, "--evaluation", evaluation)
    for text in ("suite: contaminated, 1 of 4", "corpus.jsonl row 2", f"item      {QUESTION}", "without flagged items 0.000"):
        assert text in said
    assert not list((home.path / "work" / "contamination").iterdir())
    matches = (Path(found["folder"]) / "matches.jsonl").read_text().splitlines()
    assert {json.loads(line)["method"] for line in matches} == {"exact", "ngram", "minhash"}


def test_what_was_not_looked_for_is_not_clean(home: Home, files: tuple[str, str, str]) -> None:
    clean = home.command(
        "contamination", files[1], files[0], "--methods", "exact", "--require", "exact", "--field", "text=text", "--json"
    )
    assert clean["state"] == "clean"
    found = home.command("contamination", files[1], files[0], "--methods", "exact", "--json")
    assert found["state"] == "not checked"


def test_wrong_input_is_one_sentence(home: Home, files: tuple[str, str, str], tmp_path: Path) -> None:
    torn = tmp_path / "torn.jsonl"
    torn.write_text(Path(files[0]).read_text()[:-9])
    for arguments, message in (
        ((str(torn), files[1], "--methods", "exact", "--workers", "1"), f"row 2 of {torn} isn't valid JSON"),
        ((files[0], str(tmp_path / "none")), "none"),
        ((files[0], files[1], "--methods", "ngrams"), "there are exact, ngram"),
        ((files[0], files[1], "--field", "question"), "isn't of the form text=FIELD"),
        ((files[0], files[1], "--field", "text=problem"), "row 1 of suite.jsonl has no text in 'problem'"),
        ((files[0], files[1], "--corpus-field", "prompt", "--methods", "exact", "--workers", "1"), "has no 'prompt', only text"),
        ((files[0], files[1], "--methods", "min_k"), "--model"),
        (("models:/none/1", files[1]), "nothing is registered"),
    ):
        done = home.call("contamination", *arguments)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_suite_stands_for_its_benchmarks(home: Home, files: tuple[str, str, str], tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    own = [{"method": "own", "path": files[1]}]
    rows = [{"id": "0", "prompt": QUESTION, "answer": "8"}, {"id": "1", "prompt": OTHERS[0], "answer": "no"}]
    Path(files[1]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite.write_text(json.dumps({"name": "mine", "evaluate": {"benchmarks": own}}))
    quick = ("--methods", "exact", "--require", "exact", "--workers", "1")
    (found,) = home.command("contamination", files[0], str(suite), *quick, "--json")["benchmarks"].values()
    assert (found["state"], found["flagged"], found["items"]) == ("contaminated", 1, 2)
    for name, message in (
        ("gsm9k", "no suite 'gsm9k': neither a built-in suite, nor a benchmark, nor a file; did you mean 'gsm8k'?"),
        ("mathematics", "benchmark 'gsm8k' has no data in"),
        ("quickstart", "reads a dataset's held-out split; give that dataset's folder"),
    ):
        done = home.call("contamination", files[0], name, *quick)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_a_version_carries_what_was_found_in_its_training_data(new_home: Callable[[str], Home]) -> None:
    home = new_home("screened")
    asked = "contamination={methods: [{method: exact}, {method: ngram, long: 40, share: 1.0}], require: [exact, ngram]}"
    report = home.run(asked, "register.require_clean=true")
    assert report["contamination"]["state"] == "clean"
    assert ("contamination", "pass") in [(reason["check"], reason["verdict"]) for reason in report["gate"]["reasons"]]
    assert "contamination: clean" in home.said
    uri = report["version"]["uri"]
    assert home.command("models", "show", uri, "--json")["evidence"]["contamination"]["benchmarks"]["heldout"]["state"] == "clean"
    assert "contamination: clean" in home.command("models", "show", uri)
    looked = home.command(
        "contamination", uri, str(next(home.path.glob("data/[!.]*/"))), "--methods", "exact", "--require", "exact", "--json"
    )
    assert looked["state"] == "clean"
