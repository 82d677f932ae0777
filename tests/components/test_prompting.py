from __future__ import annotations

import pytest

from components.consistency import vote
from components.errors import InputError
from components.prompting import STEPS, Example, build, examples

ASKED = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "2 + 2?"}]
SOLVED = [Example(question="1 + 1?", answer="2", steps="One and one are two."), Example(question="0?", answer="0")]


def contents(**settings: object) -> list[str]:
    return [message["content"] for message in build(ASKED, **settings)]  # type: ignore[arg-type]


def test_without_helpers_a_conversation_stays_as_it_is() -> None:
    assert build(ASKED) == ASKED
    assert build(ASKED, system="  ") == ASKED


def test_examples_come_between_system_prompt_and_conversation() -> None:
    assert contents(system="Be brief.", examples=SOLVED) == ["Be brief.", "1 + 1?", "2", "0?", "0", "1?", "one", "2 + 2?"]


def test_steps_are_asked_for_in_every_example_and_the_last_question_only() -> None:
    asking = f"\n\n{STEPS['answer_line']}"
    assert contents(examples=SOLVED, steps="answer_line") == [
        f"1 + 1?{asking}",
        "One and one are two. The answer is 2.",
        f"0?{asking}",
        "The answer is 0.",
        "1?",
        "one",
        f"2 + 2?{asking}",
    ]
    assert contents(examples=SOLVED, steps="ask")[1:4:2] == ["One and one are two. The answer is 2.", "0"]
    assert ASKED[-1]["content"] == "2 + 2?"


def test_a_solved_example_is_read_back_by_the_vote() -> None:
    solved = contents(examples=SOLVED, steps="answer_line")
    assert vote([solved[1], solved[3]], "statement").counts == {"0": 1, "2": 1}


def test_examples_are_read_from_lines_and_from_json() -> None:
    text = '1 + 1? => 2\n\n{"prompt": "0?", "completion": 0, "steps": "Nothing."}\n'
    assert examples(text) == [
        Example(question="1 + 1?", answer="2"),
        Example(question="0?", answer="0", steps="Nothing."),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ok => 1\nno arrow", "line 2 of the examples has no '=>'"),
        ("=> 1", "line 1"),
        ('{"question": "x"}', 'has no "question" and "answer"'),
        ('{"question": ', "isn't JSON"),
        ("a => b\n" * 65, "65 examples are more than 64"),
    ],
)
def test_what_is_no_example_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        examples(text)
