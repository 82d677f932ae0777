"""What a team's own set reads in answers, as models and people write them."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from pydantic import ValidationError

from components.benchmarks import _letters, _numerals, _scorers, own, wordproblems
from components.benchmarks._numerals import number
from components.benchmarks._scorers import exact, multiple_choice, numeric
from components.inference.harness import Answer

OPTIONS = ("one", "two", "three", "four")


def test_the_examples_are_true() -> None:
    for module in (_scorers, own, _numerals, _letters):
        assert doctest.testmod(module).failed == 0


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
        ("10-3", None),
        ("5\u22123", None),
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


@pytest.mark.parametrize(
    ("answer", "target", "decimal", "expected"),
    [
        ("1.234 km", "1234", ",", (True, "1234")),
        ("1.234 km", "1234", ".", (False, "1.234")),
        ("1.234 km", "1234", None, (False, None)),
        ("1.234 km", "1.234", None, (True, "1.234")),
        ("1.234 km", "1.234", ",", (True, "1234")),
        ("1,234 km", "1,234", ",", (True, "1.234")),
        ("1,234 km", "1.234", None, (False, None)),
        ("1,234 km", "1234", None, (True, "1234")),
        ("1,234 km", "7", None, (False, "1234")),
        ("not 3.5 but 1,234.5", "1234,5", ",", (True, "1234.5")),
        ("3.5", "3,5", ",", (True, "3.5")),
        (".5", "0,5", ",", (True, "0.5")),
        ("−1.234", "-1234", ",", (True, "-1234")),
    ],
)
def test_one_separator_before_three_digits_is_read_as_the_set_says(
    answer: str, target: str, decimal: Any, expected: tuple[bool, str | None]
) -> None:
    assert numeric([target], answer, decimal=decimal) == expected


def test_the_setting_decides_how_a_set_is_read_and_scored() -> None:
    german, unset = (own.Config(path="a.jsonl", scorer="numeric", decimal=mark) for mark in (",", None))  # type: ignore[arg-type]
    assert german.stored() != unset.stored()
    for config, given, stored in (
        (german, 1.234, "1,234"),
        (unset, 1.234, "1.234"),
        (german, "1.234", "1.234"),
        (german, 3.0, "3"),
    ):
        item = own.source_of(config).item({"prompt": "?", "answer": given})
        assert item["answer"] == [stored]
    graded = own._grade(german)({"answer": ["1234"]}, "1.234")
    assert (graded.scores, graded.extracted) == ({"accuracy": 1.0}, "1234")
    graded = own._grade(unset)({"answer": ["1234"]}, "1.234")
    assert (graded.scores, graded.extracted) == ({"accuracy": 0.0}, None)
    with pytest.raises(ValidationError, match="'decimal' is for scorer: numeric"):
        own.Config(path="a.jsonl", scorer="exact", decimal=",")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("\\boxed{\\frac{1}{2}}", "0.5"),
        ("It is \\boxed{7}. I needed 2 steps.", "7"),
        ("\\boxed{7} and \\boxed{8", "7"),
        ("$\\frac12$", "0.5"),
        ("1 1/2", "1.5"),
        ("-1 1/2", "-1.5"),
        ("2\u00bd cups", "2.5"),
        ("1 / 4", "0.25"),
        ("2 million", "2000000"),
        ("R$ 2,5 milhões", "2500000"),
        ("2k", "2000"),
        ("2k3", "3"),
        ("2 \u00d7 10^6", "2000000"),
        ("2 \\times 10^{-2}", "0.02"),
        ("2\u00b710\u2076", "2000000"),
        ("10^3", "1000"),
        ("12 m^2", "12"),
        ("12 m\u00b2", "12"),
        ("\u20133 °C", "-3"),
        ("The answer is 2 (not 3).", "2"),
        ("São 2, e não 3.", "2"),
        ("5 or 6", None),
        ("5 apples or 6 apples", None),
        ("5 ou 6", None),
        ("between 5 and 6", None),
        ("from 5 to 6", None),
        ("5-6", None),
        ("5\u20136", None),
        ("[5, 6]", None),
        ("{5, 6}", None),
        ("2 + 2", None),
        ("2 + x", None),
        ("2^3", None),
        ("3x^2", None),
        ("\\sqrt{3}", None),
        ("2\\sqrt{3}", None),
        ("sqrt(3)", None),
        ("\u221a3", None),
        ("10:30", None),
        ("2024-01-05", None),
        ("x_10", None),
        ("1010_2", None),
        ("not 3", None),
        ("(5)", "5"),
        ("5 and 6 are 11", "11"),
        ("2 + 2 = 4!", "4"),
        ("(3, then 4) 5", "5"),
        ("_5_", "5"),
        ("is *5*.", "5"),
        ("\\boxed{" * 2000 + "5", "5"),
    ],
)
def test_a_part_of_something_else_is_no_number(answer: str, found: str | None) -> None:
    """``\\frac{1}{2}`` isn't 2, nor are ``2 million``, and of "5 or 6" the answer names neither."""
    assert numeric(["5"], answer)[1] == found


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
        ("b)", "B"),
        ("The answer is A because B is small.", "A"),
        ("The answer is A, since nothing else fits.", "A"),
        ("If we add both, the answer is A.", "A"),
        ("A resposta é (B).", "B"),
        ("A resposta correta é a letra B.", "B"),
        ("Resposta: B", "B"),
        ("A alternativa correta é D.", "D"),
        ("A resposta é B ou C.", None),
        ("The answer is A.\nActually, no, it's B.", "B"),
        ("The answer is A, B", None),
        ("The answer is (A) (B) (C)", None),
        ("The answer is B and the answer is C.", None),
        ("I'm not sure the answer is A.", None),
        ("It is unclear whether B is correct.", None),
        ("Não acho que a resposta é A.", None),
        ("The answer is D = mc^2", None),
        ("The answer is A 12-sided die.", None),
        ("Answer: A lot of people think C.", None),
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


def test_i_is_a_letter_and_a_word() -> None:
    ten = tuple("abcdefghij")
    assert multiple_choice(["I"], "The answer is I.", ten) == (True, "I")
    for answer in ("The answer is I don't know", "The answer is I think 5"):
        assert multiple_choice(["I"], answer, ten) == (False, None)


def test_exact_answers() -> None:
    assert exact(["..."], " ") == (False, None)
    assert exact(["e\u0301"], "\u00e9.") == (True, "\u00e9")
