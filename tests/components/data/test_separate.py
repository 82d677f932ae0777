"""Normalised text: what counts as the same, and what counts as a leak."""

from __future__ import annotations

import doctest

import pytest

from components.data import separate
from components.data.separate import HeldOut, identity, normalised, row_id

TURNS = [{"role": "assistant", "content": "Hi there."}, {"role": "user", "content": "And now?"}]
PROBLEM = "Tom has 23 apples and buys 14 more. How many apples does Tom have now?"


def test_doctests() -> None:
    assert doctest.testmod(separate).failed == 0


def test_normalised_is_stable_and_folds_case_width_and_space() -> None:
    assert normalised("ＴＯＭ\u00a0has\t2\n") == normalised("tom has 2")
    assert normalised("STRASSE") == normalised("straße")
    assert normalised(normalised("ﬁne Ⅷ ẞ")) == normalised("ﬁne Ⅷ ẞ")


@pytest.mark.parametrize(
    ("row", "kind", "leaks"),
    [
        ({"prompt": PROBLEM, "completion": "37"}, "sft", True),
        ({"prompt": PROBLEM.upper().replace(" ", "  "), "completion": "37"}, "sft", True),
        ({"prompt": f"Solve:{PROBLEM}", "completion": "37"}, "sft", True),
        ({"text": f"Question: {PROBLEM}\nAnswer: 37"}, "text", True),
        ({"messages": [{"role": "user", "content": PROBLEM}, {"role": "assistant", "content": "37"}]}, "sft", True),
        ({"prompt": "a", "chosen": PROBLEM, "rejected": "b"}, "preference", True),
        ({"prompt": PROBLEM, "answer": "37"}, "prompts", True),
        ({"prompt": PROBLEM.replace("14", "15"), "completion": "38"}, "sft", False),
        ({"text": PROBLEM[:-20]}, "text", False),
        ({"text": "Hi, how are you? Hi."}, "text", False),
        ({"prompt": [{"role": "user", "content": "hi"}, *TURNS], "chosen": "a", "rejected": "b"}, "preference", True),
        ({"prompt": [{"role": "user", "content": PROBLEM}, *TURNS], "completion": "a", "label": True}, "labelled", True),
        ({"prompt": TURNS, "chosen": "a", "rejected": "b"}, "preference", False),
        ({"text": "HI"}, "text", True),
        ({"text": "3 - 4"}, "text", False),
        ({"prompt": PROBLEM.replace("more. How", "more, how").rstrip("?"), "completion": "37"}, "sft", True),
        ({"text": f"He asked: “{PROBLEM[:-1]}” - and left."}, "text", True),
        ({"prompt": PROBLEM.replace("apples", "ap\u00adples"), "completion": "37"}, "sft", True),
        ({"prompt": "hi!", "completion": "Hello."}, "sft", True),
        ({"text": "3+4"}, "text", True),
        ({"text": "3 + .4"}, "text", False),
        ({"text": f"Question: {PROBLEM[:-1]}\nAnswer: 37"}, "text", True),
        ({"text": f"Question: {PROBLEM[:-1]} that he is rich?"}, "text", False),
        ({"text": "!"}, "text", False),
        ({"text": "?!"}, "text", True),
    ],
)
def test_leaks(row: dict[str, object], kind: separate.RecordKind, leaks: bool) -> None:
    held = HeldOut.of([PROBLEM, "Hi", "3 + 4", "?!"])
    assert held.leaks_into(row, kind) is leaks


def test_identity_is_the_prompt_alone_for_prompts_and_everything_else_for_pairs() -> None:
    assert identity({"prompt": "A b", "answer": "1"}, "prompts") == identity({"prompt": "a  B", "answer": "2"}, "prompts")
    assert identity({"prompt": "a", "completion": "1"}, "sft") != identity({"prompt": "a", "completion": "2"}, "sft")


def test_a_conversation_is_asked_as_a_whole() -> None:
    rows = [{"prompt": [{"role": "user", "content": first}, *TURNS], "chosen": "a", "rejected": "b"} for first in ("Hm", "Hi")]
    assert list(separate.asked(rows[0], "preference")) == ["Hm\nHi there.\nAnd now?"]
    assert identity(rows[0], "preference") != identity(rows[1], "preference")
    assert row_id(rows[0], "preference") != row_id(rows[1], "preference")


def test_the_last_question_of_a_held_out_conversation_is_in_no_training_row() -> None:
    long = "Tom has 2 apples and buys 3 more. How many?"
    held = {"prompt": [*({"role": "user", "content": text} for text in ("Hello!", long))], "chosen": "5", "rejected": "6"}
    found = separate.HeldOut.of(separate.asked(held, "preference"))
    alone = {"prompt": long.upper(), "chosen": "5", "rejected": "6"}
    assert found.leaks_into(alone, "preference")
    assert not found.leaks_into({**alone, "prompt": "Hello!"}, "preference"), "short, and only the beginning of it"


def test_id_follows_from_what_is_asked() -> None:
    assert row_id({"prompt": "a", "answer": "1"}, "prompts") == row_id({"prompt": "A", "answer": "2"}, "prompts")
    assert row_id({"text": "a"}, "text") != row_id({"text": "b"}, "text")
