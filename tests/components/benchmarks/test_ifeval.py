"""IFEval's instructions: for each an answer that follows it and one that doesn't; counts, seeds, and the published items."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.benchmarks import _instructions, ifeval
from components.benchmarks._pooled import mean_of_means, ratio
from components.data import records
from components.errors import LapidarError
from components.settings import Settings

DATA = Settings().shared / "data" / "ifeval" / "input_data.jsonl"

try:
    _instructions.names()
except LapidarError as error:
    pytest.skip(str(error), allow_module_level=True)

LETTERS = " ".join(["banana"] * 4)
WORDS = " ".join(["word"] * 30)
# Instruction, its arguments, an answer that follows it, one that doesn't.
VERDICTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["Lisbon", "river"]}, "The river of lisbon.", "The river."),
    ("keywords:frequency", {"keyword": "blue", "frequency": 2, "relation": "at least"}, "Blue and blue.", "Blue."),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "A dog, a category.", "A Cat."),
    ("keywords:letter_frequency", {"letter": "b", "let_frequency": 4, "let_relation": "at least"}, LETTERS, "banana banana"),
    ("language:response_language", {"language": "pt"}, "O rato roeu a roupa do rei de Roma e fugiu.", "The cat sat on the mat."),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "less than"},
        "Mr. Li left. He ran.",
        "A. b! C? D ran. No.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", "One.\n\nTwo."),
    ("length_constraints:number_words", {"num_words": 30, "relation": "at least"}, WORDS, "too short"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "First this.\n\nThen that.",
        "Then this.\n\nFirst that.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "Dear [name] of [town]", "Dear [name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. Write soon.", "Bye. Write soon."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n* two", "* one\n* two\n* three"),
    ("detectable_format:constrained_response", {}, "My answer is yes.", "Yes."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and *two*", "*one* and two"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1, 2]}\n```', '{"a": [1, 2}'),
    ("detectable_format:title", {}, "<<A poem>>\nRoses.", "A poem\nRoses."),
    ("combination:two_responses", {}, "One way.\n******\nAnother.", "One way.\n******\nOne way."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hello."}, "Say hello. Hello!", "Hello!"),
    ("startend:end_checker", {"end_phrase": "That is all."}, "Well. That is all.", "That is all. Well."),
    ("startend:quotation", {}, '"Hello."', 'He said "hello".'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NEVER say NEVER",
        "never say NEVER",
    ),
    ("change_case:english_capital", {}, "THE CAT SAT ON THE MAT AND SLEPT.", "The cat sat on the mat and slept."),
    ("change_case:english_lowercase", {}, "the cat sat on the mat and slept.", "The cat sat on the mat and slept."),
    ("punctuation:no_comma", {}, "One and two", "One, two"),
]


def strict(instruction: str, arguments: dict[str, Any], answer: str) -> bool:
    (found,) = _instructions.follow("Say hello.", [instruction], [arguments], answer).strict
    return found


@pytest.mark.parametrize(("instruction", "arguments", "good", "bad"), VERDICTS, ids=[v[0] for v in VERDICTS])
def test_each_instruction(instruction: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    assert strict(instruction, arguments, good)
    assert not strict(instruction, arguments, bad)
    assert not strict(instruction, arguments, "  \n")


def test_every_known_instruction_has_a_verdict_here() -> None:
    assert {name for name, *_ in VERDICTS} == _instructions.names()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mr. Smith went to the U.S. on Jan. 5th. He paid $3.50! Really? Yes.", 4),
        ("He works at Acme Inc. in Boston. It rains.", 2),
        ("“Go.” She went.", 2),
        ("One sentence without an end", 1),
        ("He has no. 5, e.g. this one, and Dr. No knows it.", 3),  # Punkt ends sentences at "no." and "e.g."
    ],
)
def test_sentences_are_counted_as_punkt_does(text: str, sentences: int) -> None:
    from lm_eval.tasks.ifeval.instructions_util import count_sentences

    assert count_sentences(text) == sentences


def test_languages_are_told_the_same_every_time() -> None:
    """Unless it is seeded, langdetect takes "che" for German one time in ten."""
    answers = [_instructions.follow("", ["language:response_language"], [{"language": "vi"}], "che").strict for _ in range(30)]
    assert len({tuple(answer) for answer in answers}) == 1
    assert len(answers) == 30


def test_what_an_item_leaves_open_is_always_the_same_and_others_are_undisturbed() -> None:
    random.seed(5)
    before = random.getstate()
    answers = [strict("detectable_format:number_bullet_lists", {}, "* one\n* two\n* three") for _ in range(20)]
    assert len(set(answers)) == 1
    assert random.getstate() == before


def test_loose_ignores_first_and_last_lines_and_asterisks() -> None:
    found = _instructions.follow("", ["punctuation:no_comma", "startend:quotation"], [{}, {}], 'Sure, here it is:\n"One two"')
    assert (found.strict, found.loose) == ([False, False], [True, True])


def item(ids: list[str]) -> dict[str, Any]:
    return ifeval.SOURCE.item({"key": 1, "prompt": "Say hello.", "instruction_id_list": ids, "kwargs": [{}] * len(ids)})


def test_scores_of_an_item() -> None:
    row = item(["punctuation:no_comma", "detectable_format:title"])
    graded = ifeval.grade(row, "One, two\n<<A>>")
    assert graded.scores == {
        "accuracy": 0,
        "prompt_loose": 1,
        "instruction_strict": 0.5,
        "instruction_loose": 1,
    }
    assert ifeval.grade(row, " \n ").extracted is None


def test_instruction_level_figures_count_instructions() -> None:
    answers = [
        (["punctuation:no_comma"], "One"),
        (["punctuation:no_comma", "detectable_format:title", "startend:quotation"], "x, y"),
    ]
    items = [{"scores": ifeval.grade(item(ids), answer).scores, "target": " ".join(ids)} for ids, answer in answers]
    assert ifeval.summary(items)["instruction_strict"].value == 0.25  # one of four; the mean of the items' shares is one half


def test_wrong_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="'telepathy:silent' can't be checked; known are"):
        item(["telepathy:silent"])
    with pytest.raises(ValueError, match="same length"):
        ifeval.SOURCE.item({"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []})
    with pytest.raises(KeyError):
        ifeval.SOURCE.item({"key": 1, "prompt": "p", "kwargs": []})


def test_all_published_items_can_be_scored() -> None:
    if not DATA.is_file():
        pytest.skip(f"{DATA} isn't there; set LAPIDAR_SHARED to the folder with the shared data")
    rows = [ifeval.SOURCE.item(row) for row in records.read(DATA)]
    assert len(rows) == 540
    graded = [ifeval.grade(row, "Here is a short answer. It has two sentences.") for row in rows]
    assert 0 < sum(g.scores["accuracy"] for g in graded) < 200
    assert all(g.scores["accuracy"] <= g.scores["prompt_loose"] for g in graded)


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    """A process that may open no connection counts sentences."""
    script = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'): raise SystemExit('asked the network')\n"
        "sys.addaudithook(refuse)\n"
        "from components.benchmarks import _instructions\n"
        "arguments = [{'num_sentences': 2, 'relation': 'at least'}]\n"
        "f = _instructions.follow('', ['length_constraints:number_sentences'], arguments, 'A b. C d.')\n"
        "import json; print(json.dumps(f.strict))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout.splitlines()[-1:] == ["[true]"], done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True]


@pytest.mark.parametrize(
    ("parts", "wholes", "value"), [([1, 1], [1, 3], 0.5), ([0, 0], [2, 2], 0), ([2, 2], [2, 2], 1), ([1], [2], 0.5)]
)
def test_ratio_has_an_interval_around_it(parts: list[float], wholes: list[float], value: float) -> None:
    found = ratio(parts, wholes)
    assert found.value == value
    assert 0 <= found.low <= value <= found.high <= 1
    assert found.high - found.low > 0.2


def test_ratio_covers_the_truth() -> None:
    """95 % intervals of items with one to three instructions, each followed with probability 0.6, dependent within an item."""
    draw, held = random.Random(3), 0
    for _ in range(400):
        wholes, parts = [], []
        for _ in range(120):
            size = draw.choice([1, 2, 3])
            item_rate = draw.choice([0.3, 0.9])
            wholes.append(float(size))
            parts.append(float(sum(draw.random() < item_rate for _ in range(size))))
        found = ratio(parts, wholes)
        held += found.low <= 0.6 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_mean_of_means_weighs_categories_and_tasks_equally() -> None:
    found = mean_of_means({"math": {"a": [1.0] * 50, "b": [0.0] * 2}, "coding": {"c": [0.0, 1.0]}})
    assert (found["math"].value, found["coding"].value, found[""].value) == (0.5, 0.5, 0.5)
    assert found[""].n == 54
    assert all(e.low < e.value < e.high for e in found.values())
    alone = mean_of_means({"math": {"a": [1.0] * 50}})
    assert alone["math"].low < 1 == alone["math"].high
