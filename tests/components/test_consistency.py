from __future__ import annotations

import pytest

from components.consistency import READERS, vote
from components.errors import InputError


def test_the_most_frequent_value_wins_whatever_stands_around_it() -> None:
    found = vote(["It is 3. The answer is 1,200.", "so the answer is $1200", "The answer is 7.", "dunno"], "statement")
    assert found.counts == {"1200": 2, "7": 1}
    assert found.winners == ("1200",)
    assert [read.value for read in found.reads] == ["1200", "1200", "7", None]
    assert (found.share.value, found.share.n) == (0.5, 4)
    assert found.pass_at == {}
    assert found.reads[0].right is None


def test_a_tie_has_two_winners_and_silence_none() -> None:
    assert vote(["yes", "No.", "no", "YES"], "exact").winners == ("no", "yes")
    silent = vote(["hm", ""], "numeric")
    assert (silent.winners, silent.counts, silent.share.value) == ((), {}, 0.0)


def test_with_the_right_answer_known_the_estimates_are_the_benchmarks() -> None:
    found = vote(["The answer is 4.", "The answer is 4.0.", "The answer is 5."], "statement", " 4 ")
    assert [read.right for read in found.reads] == [True, True, False]
    assert found.pass_at == {1: pytest.approx(2 / 3), 2: 1.0, 3: 1.0}
    assert found.majority_at == {1: pytest.approx(2 / 3), 2: pytest.approx(2 / 3), 3: 1.0}


@pytest.mark.parametrize(
    ("reader", "text", "target", "value"),
    [
        ("numeric", "of 12 are 7 left", "7", "7"),
        ("math_verify", r"so $\boxed{\frac{1}{2}}$", "0.5", "1/2"),
        ("multiple_choice", "The answer is (B).", "B", "B"),
        ("exact", " Paris. ", "paris", "paris"),
    ],
)
def test_every_reader_reads_its_kind_with_and_without_the_right_answer(reader: str, text: str, target: str, value: str) -> None:
    for known in (target, None, "  "):
        read = vote([text], reader, known).reads[0]
        assert (read.value, read.right) == (value, True if known == target else None)
    assert vote([text], reader, "999").reads[0].right is False
    assert reader in READERS


def test_what_cannot_be_voted_on_is_refused() -> None:
    with pytest.raises(InputError, match="can't be read by 'mind'; there are statement"):
        vote(["x"], "mind")
    with pytest.raises(InputError, match="at least one answer"):
        vote([], "exact")
