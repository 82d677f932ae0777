"""Scores of single answers, and what every benchmark file has."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from components import methods
from components.artifacts import DatasetRef, Inputs, Split
from components.benchmarks import preference_pairs, stories, wordproblems
from components.data import benchmarks
from components.errors import InputError
from components.inference.harness import Answer
from components.models.chat import choose_template
from components.settings import Settings

ROWS: dict[str, dict[str, Any]] = {
    "prompts": {"prompt": "{{ 1 + 1 }}? \u2028", "answer": "2", "words": ["dog"]},
    "preference": {"prompt": "{{ 1 + 1 }}? \u2028", "chosen": "Yes", "rejected": "No"},
}

REQUIRED: dict[str, dict[str, Any]] = {"own": {"path": "questions.jsonl"}, "mt_bench": {"judge": "http://127.0.0.1:9/v1#none"}}
"""Settings without a default."""


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    from components.models.load import load_tokenizer

    return load_tokenizer(tiny_llama)


def inputs(folder: Path, kind: Any) -> Inputs:
    (folder / "heldout.jsonl").write_text(json.dumps(ROWS[kind], ensure_ascii=False) + "\n", encoding="utf-8")
    return Inputs(DatasetRef(folder, "", {"heldout": Split("heldout", kind, 1, "")}, folder, None), {})


@pytest.mark.parametrize("module", [wordproblems, stories, preference_pairs])
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.parametrize("name", methods.names("benchmark"))
def test_every_benchmark_is_a_task_of_the_harness(name: str, tmp_path: Path, tokenizer: Any) -> None:
    from lm_eval.api.task import ConfigurableTask

    module = methods.load("benchmark", name)
    config = module.Config.model_validate(REQUIRED.get(name, {}))
    if config.stored() is not None:
        source = module.source_of(config) if name == "own" else module.SOURCE
        _check_stored(module, config, source, tmp_path, tokenizer)
        return
    for kind in ROWS:
        try:
            settings = module.task(config, inputs(tmp_path, kind), tokenizer)
        except InputError:
            continue
        task = ConfigurableTask(config={**settings, "num_fewshot": 0})
        assert task.config.task == name
        (doc,) = task.eval_docs
        assert {"id", "group", "prompt"} <= doc.keys()
        assert task.doc_to_text(doc) == ROWS[kind]["prompt"]  # a template's braces are text
        assert "parsed" in task.aggregation()
        return
    pytest.fail(f"benchmark {name} takes none of the kinds {list(ROWS)}")


def _check_stored(module: Any, config: Any, source: Any, folder: Path, tokenizer: Any) -> None:
    """The row that its file shows becomes an item, with all braces and separators that were in it, and its answer scores."""
    from components.evaluate._measure import _task

    settings = Settings(home=folder / "home")
    made = benchmarks.store(config.stored(), source, folder / "rows.jsonl", [source.sample], None, settings)
    refs = {config.stored(): made.ref}
    task = _task({**module.task(config, Inputs(None, {}, refs), tokenizer), "num_fewshot": 0})
    assert task.config.task == config.label
    (doc,) = task.eval_docs
    assert {"id", "group"} <= doc.keys()
    assert task.doc_to_text(doc)
    assert {"parsed", "extracted"} <= task.aggregation().keys()
    if task.OUTPUT_TYPE == "generate_until":
        nothing = task.process_results(doc, [[""] * config.n])
        assert nothing["parsed"] == 0 or name_of_sandboxed(config)
        assert nothing.keys() <= task.aggregation().keys()


def name_of_sandboxed(config: Any) -> bool:
    """Whether any answer can be judged, so that none is unparsed: code and instructions that a verifier checks."""
    return config.method in ("humaneval", "ifeval", "livebench", "mt_bench")


@pytest.mark.parametrize(
    ("answer", "accuracy", "parsed"),
    [(" 1 + 1 = 2. The answer is 2.", 1, 1), ("The answer is 2.0", 1, 1), ("The answer is 3.", 0, 1), ("2", 0, 0), ("", 0, 0)],
)
def test_wordproblems(answer: str, accuracy: float, parsed: float) -> None:
    assert wordproblems.score({"answer": "2"}, answer) == {"accuracy": accuracy, "parsed": parsed}


def test_a_story_that_was_cut_did_not_end() -> None:
    story = "Tim had a dog. It ran. It sat. It slept."
    row = {"words": ["dog", "Tim"]}
    assert set(stories.score(row, Answer(story, False)).values()) == {1.0}
    cut = stories.score(row, Answer(story, True))
    assert (cut["ends_sentence"], cut["all"], cut["four_sentences"]) == (0, 0, 1)
    assert stories.score({"words": ["dog", "cat"]}, Answer(story, False))["required_word"] == 0


def test_ties_count_one_half() -> None:
    scores = preference_pairs.score({"chosen": "Yes", "rejected": "Nah"}, [-1.0, -1.0])
    assert {scores[m] for m in preference_pairs.METRICS} == {0.5}


def test_lengths_are_bytes() -> None:
    scores = preference_pairs.score({"chosen": "é", "rejected": "e"}, [-3.0, -2.0])
    assert (scores["accuracy"], scores["accuracy_per_byte"], scores["prefer_longer"]) == (0, 1, 1)


@pytest.mark.parametrize("template", ["plain", "chatml"])
def test_a_completion_is_what_training_sees(tokenizer: Any, template: str) -> None:
    """Prompt and completion together are the rows of training, token for token."""
    from components.models.chat import prompt_ids
    from components.training.rows import sft_row

    if template == "chatml":
        template = (
            "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
        )
    choose_template(tokenizer, template)
    prompt, answer = "Tom has 3 apples. How many?", "He has 3."
    row = sft_row(tokenizer, {"prompt": prompt, "completion": answer}, "row 1")
    start = prompt_ids(tokenizer, [{"role": "user", "content": prompt}])
    text = preference_pairs.completion(tokenizer, [{"role": "user", "content": prompt}], answer)
    whole = tokenizer.decode(start) + text
    assert tokenizer.encode(whole, add_special_tokens=False) == row.input_ids
    assert text.endswith(tokenizer.eos_token)
    assert tokenizer.decode(row.input_ids[len(start) :]) == text
