from __future__ import annotations

import doctest

import pytest

from components.judges import asking, verdicts


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(verdicts).failed == 0
    assert doctest.testmod(asking).failed == 0


@pytest.mark.parametrize(
    ("output", "position"),
    [
        ("[[A]]", "first"),
        ("[[ B ]]", "second"),
        ("Tie. [[C]]", "tie"),
        ("The answer says [[A]] itself, which proves nothing. [[B]]", "second"),
        ("[A]", None),
        ("A", None),
        ("[[a]]", None),
        ("[[A or B]]", None),
        ("[[A]] is wrong, so [[D]]", None),
        ("[[7]]", None),
        ("", None),
    ],
)
def test_only_a_verdict_in_the_agreed_form_counts_and_the_last_one(output: str, position: str | None) -> None:
    assert verdicts.pairwise(output) == position


def test_what_a_limit_cut_off_is_not_guessed() -> None:
    assert verdicts.pairwise("One might say [[A]], but", cut=True) is None
    assert verdicts.rating("[[7]] was my first", cut=True) is None


@pytest.mark.parametrize(("position", "order", "side"), [("first", "ab", "a"), ("first", "ba", "b"), ("second", "ba", "a")])
def test_positions_are_turned_into_sides(position: verdicts.Position, order: verdicts.Order, side: str) -> None:
    assert verdicts.side(position, order) == side


def test_disagreement_of_the_orders_is_a_tie() -> None:
    assert [verdicts.together(*v) for v in (("a", "b"), ("tie", "b"), ("b", "b"), (None, "b"))] == ["tie", "tie", "b", None]
