"""The text rules, on cases that naive rules get wrong."""

from __future__ import annotations

import doctest

import pytest

from components import text
from components.text import ends_sentence, final_answer, holds_word, number, sentence_count


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(text).failed == 0
    assert doctest.testmod(text).attempted >= 10


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("23 + 14 = 37. The answer is 37.", "37"),
        ("The answer is -5.", "-5"),
        ("The answer is −5.", "-5"),
        ("The answer is -$5.", "-5"),
        ("The answer is $-5.", "-5"),
        ("the ANSWER is: 007", "7"),
        ("Answer: 12", "12"),
        ("The answer is 3.50 euros.", "3.5"),
        ("The answer is 4.0.", "4"),
        ("The answer is -0.", "0"),
        ("The answer is $1,234,567.", "1234567"),
        ("The answer is 50%.", "50"),
        ("The answer is 5. The answer is 6.", "6"),
        ("The answer is\n8", "8"),
        ("The answer is " + "1" * 40 + ".", "1" * 40),  # digits must not be rounded
        ("The answer is 3/4.", None),
        ("The answer is 12,34.", None),
        ("The answer is 1.2.3.", None),
        ("The answer is", None),
        ("The answer is about 5.", None),
        ("5", None),
        ("She answered 5.", None),
        ("", None),
    ],
)
def test_final_answer(said: str, answer: str | None) -> None:
    assert final_answer(said) == answer


def test_number_is_the_whole_text() -> None:
    assert [number(t) for t in ("37", " 37 ", "$1,000.50", "37 apples", "x", "", "1,00")] == [
        "37",
        "37",
        "1000.5",
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("said", "word", "held"),
    [
        ("The dog ran.", "dog", True),
        ("DOG!", "dog", True),
        ("The dog's bone", "dog", True),
        ("The dog’s bone", "dog", True),
        ("'dog'", "dog", True),
        ("the dogs' dog", "dog", True),
        ("dogs", "dog", False),
        ("hotdog", "dog", False),
        ("dog_house", "dog", False),
        ("He can't go", "can", False),
        ("five o'clock", "clock", False),
        ("the ice\ncream", "ice cream", True),
        ("CAFÉ", "cafe\u0301", True),
        ("a.c", "abc", False),
        ("abc", "a.c", False),  # no regular expression
        ("", "dog", False),
        ("5.5", "5", False),
        ("-5", "5", False),
        ("x = \u22125", "5", False),
        ("-5", "-5", True),
        ("1,5", "5", False),
        ("5,000", "5", False),
        ("5/8", "5", False),
        ("10:30", "10", False),
        ("about 5, or 5.", "5", True),
        ("port-8080", "8080", True),
        ("127.0.0.1:8080", "8080", True),
        ("I use C++.", "C", False),
        ("I use C#.", "C", False),
        ("I use C++.", "C++", True),
        ("art\u0301", "art", False),
    ],
)
def test_holds_word(said: str, word: str, held: bool) -> None:
    assert holds_word(said, word) is held


@pytest.mark.parametrize("word", ["", "  "])
def test_an_empty_word_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        holds_word("text", word)


@pytest.mark.parametrize(
    ("said", "ends", "count"),
    [
        ("He ran.", True, 1),
        ("He ran", False, 0),
        ("He ran,", False, 0),
        ("He ran. \n", True, 1),
        ('"Run!"', True, 1),
        ("“Run!” he said.", True, 1),
        ('He said, "Run', False, 0),
        ('He ran. "', False, 1),
        ("He ran (fast.)", True, 1),
        ("They saw Mr.", False, 0),
        ("They saw Dr. Fox. He ran", False, 1),
        ("J. R. Smith ran. He fell.", True, 2),
        ("It was I. He ran.", True, 2),
        ("It was 3.5 m long", False, 0),
        ("It was 3.5 m. Then it was 4.", True, 2),
        ("He came at 5 p.m. and left.", True, 1),
        ('"Hi." "Bye."', True, 2),
        ('"Stop!" he said. "Why?" she asked.', True, 2),
        ("One.\n\nTwo!\nThree?", True, 3),
        ("What?! No...", True, 2),
        ("Hi. . . . .", True, 1),  # dots alone must not be worth a reward
        ("....", False, 0),
        ('"."', False, 0),
        ("", False, 0),
    ],
)
def test_sentences(said: str, ends: bool, count: int) -> None:
    assert (ends_sentence(said), sentence_count(said)) == (ends, count)
