from __future__ import annotations

import pytest

from components.errors import InputError
from components.inference.reading import Token
from components.sweep import RULES, SHAPES, Cell, Grid, Outcome, mean_logprob, numbers, score, scored, scorers, summary


def test_a_grid_holds_every_combination_once() -> None:
    grid = Grid(("a", "b"), (0.5, 1.0, 0.5), (0.9, 1.0), samples=2)
    assert len(grid.cells) == len(set(grid.cells)) == 2 * 2 * 2 * 2
    assert {cell.temperature for cell in grid.cells} == {0.5, 1.0}


def test_at_temperature_zero_nothing_is_drawn_so_there_is_one_answer() -> None:
    assert Grid(("a",), (0.0, 1.0), (0.5, 0.9), samples=3).cells == (
        Cell(0, 0.0, 1.0, 0),
        *(Cell(0, 1.0, top_p, sample) for top_p in (0.5, 0.9) for sample in range(3)),
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompts": ()}, "at least one prompt"),
        ({"prompts": (" ",)}, "none may be empty"),
        ({"temperatures": ()}, "at least one value of temperature"),
        ({"temperatures": (-1.0,)}, "temperature=-1 is out of range"),
        ({"temperatures": (float("nan"),)}, "temperature=nan"),
        ({"top_ps": (0.0,)}, "top_p=0 is out of range"),
        ({"samples": 0}, "samples=0"),
        ({"temperatures": (1.0,), "samples": 49, "prompts": ("a", "b")}, "98 answers, more than 96"),
    ],
)
def test_what_makes_no_grid_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Grid(**{"prompts": ("a",), **settings})  # type: ignore[arg-type]


def test_axes_are_read_as_people_write_them() -> None:
    assert numbers(" 0, 0.5;1,,") == (0.0, 0.5, 1.0)
    with pytest.raises(InputError, match="'warm' is no number"):
        numbers("0, warm")


def test_every_score_lies_between_0_and_1_and_knows_right_from_wrong() -> None:
    assert scorers(False) == list(SHAPES)
    for name in scorers(True):
        right, wrong = "B", "C"
        text = "The answer is (B)."
        if name in ("statement", "numeric", "math_verify"):
            right, wrong, text = "4", "5", "The answer is 4."
        elif name == "exact":
            text = "B."
        found = score(name, text, right)
        assert found is not None
        assert 0 <= found <= 1
        if name in RULES:
            assert (found, score(name, text, wrong), score(name, text, None)) == (1.0, 0.0, None)
    with pytest.raises(InputError, match="'judge' scores nothing here"):
        score("judge", "x", "x")


def test_rows_hold_settings_answers_and_scores_in_the_grids_order() -> None:
    grid = Grid(("1 + 1?", "1 + 2?"), (0.0, 1.0), answers=("2", ""))
    outcomes = {
        Cell(1, 0.0, 1.0): Outcome(Cell(1, 0.0, 1.0), "3", "stop", 1, 0.5),
        Cell(0, 1.0, 1.0): Outcome(Cell(0, 1.0, 1.0), "2", "stopped", 1, 0.5, error="the server ended"),
        Cell(0, 0.0, 1.0): Outcome(Cell(0, 0.0, 1.0), "2", "stop", 1, 0.25, -0.5),
    }
    rows = scored(grid, outcomes, ["exact"])
    assert [(row["prompt"], row["temperature"], row["exact"], row["error"]) for row in rows] == [
        ("1 + 1?", 0.0, 1.0, ""),
        ("1 + 1?", 1.0, None, "the server ended"),
        ("1 + 2?", 0.0, None, ""),
    ]
    found = summary(rows, "exact")
    assert list(found) == [(0.0, 1.0)]
    assert (found[0.0, 1.0].value, found[0.0, 1.0].n) == (1.0, 1)


def test_the_mean_log_probability_is_over_tokens() -> None:
    assert mean_logprob([Token(0, "a", -1.0), Token(0, "b", -3.0)]) == -2.0
    assert mean_logprob([]) is None
