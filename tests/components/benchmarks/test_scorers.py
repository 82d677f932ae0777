"""What a team's own set reads in answers, as models and people write them."""

from __future__ import annotations

import doctest

import pytest

from components.benchmarks import _scorers, wordproblems
from components.benchmarks._scorers import exact, multiple_choice, number, numeric
from components.inference.harness import Answer

OPTIONS = ("one", "two", "three", "four")


def test_the_examples_are_true() -> None:
    assert doctest.testmod(_scorers).failed == 0


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("It is 1,234.5 km", "1234.5"),
        ("Es sind 1.234,5 km", "1234.5"),
        ("1.234.567", "1234567"),
        ("3,14", "3.14"),
        ("1.200", "1.2"),
        ("1'234", "1234"),
        ("1\u202f234\u00a0567", "1234567"),
        ("1{,}234", "1234"),
        ("1\\,234", "1234"),
        ("The answer is \u22125.", "-5"),
        ("10-3", "3"),
        ("5\u22123", "3"),
        ("-$3", "-3"),
        ("$-3", "-3"),
        ("50 %", "50"),
        (".5", "0.5"),
        ("1/2", "0.5"),
        ("1/3", "1/3"),
        ("1e6", "1000000"),
        ("2.5e\u22123", "0.0025"),
        ("\uff13\u0663", "33"),
        ("**7**", "7"),
        ("12345678901234567890.5", "12345678901234567890.5"),
        ("1,23,4", None),
        ("version 1.2.5", None),
        ("on 3/4/2024", None),
        ("3 100", None),
        ("1/0", None),
        ("1e999", None),
        ("9" * 5000, None),
        ("nan", None),
        ("", None),
    ],
)
def test_numbers(answer: str, found: str | None) -> None:
    right, said = numeric([found or "5"], answer)
    assert (right, said) == (found is not None, found)


def test_a_number_where_the_limit_cut_the_answer_is_none() -> None:
    assert numeric(["12"], Answer("3 and 9 are 12", True)) == (False, None)
    assert numeric(["12"], Answer("3 and 9 are 12", False)) == numeric(["12"], Answer("are 12 and", True)) == (True, "12")
    row = {"answer": "1"}
    assert wordproblems.score(row, Answer("The answer is 1", True)) == {"accuracy": 0.0, "parsed": 0.0}
    assert wordproblems.score(row, Answer("The answer is 1. And 3", True)) == {"accuracy": 1.0, "parsed": 1.0}
    assert number("12 apples") is None


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("The answer is not A but B", "B"),
        ("The answer is B, not A", "B"),
        ("The answer is A or B", None),
        ("The answer is A and B", None),
        ("The answer isn't A, it's unclear", None),
        ("The answer is (d)", "D"),
        ("answer: b", "B"),
        ("The answer is: **C**", "C"),
        ("so $\\boxed{C}$\n\\boxed{B}", "B"),
        ("Option C is correct.", "C"),
        ("The correct option is B", "B"),
        ("The answer is B.\n\nA. is wrong.\nC. is wrong.", "B"),
        ("A: no\nB: no", None),
        ("A. Paris", "A"),
        ("I say so", None),
        ("The answer is Apple", None),
        ("The answer is E", None),
        ("A good question", None),
        ("", None),
    ],
)
def test_letters(answer: str, found: str | None) -> None:
    assert multiple_choice([found or "A"], answer, OPTIONS) == (found is not None, found)


def test_exact_answers() -> None:
    assert exact(["..."], " ") == (False, None)
    assert exact(["e\u0301"], "\u00e9.") == (True, "\u00e9")
