"""Which tokens an answer is drawn from."""

from __future__ import annotations

import pytest

from components.inference.reading import Token
from dashboards.talk import tokens


@pytest.mark.parametrize(
    ("answer", "said", "drawn"),
    [
        ("a b", [" a", " b"], 2),
        (" a b", [" a", " b", "</s>"], 2),
        ("a b", [" a", " b", "\n", "</s>"], 2),
        ("a b", [" a", " c"], 0),
        ("a b", [" a"], 0),
        ("a b", [" a", " b stop"], 0),
        ("a", [], 0),
    ],
)
def test_an_answer_is_drawn_from_the_tokens_that_make_it(answer: str, said: list[str], drawn: int) -> None:
    found = tokens.of(answer, [Token(0, text, -0.1) for text in said])
    assert [token.text for token in found] == said[:drawn]
