"""What each policy keeps of a conversation, with one token a word."""

from __future__ import annotations

import pytest

from components.errors import InputError
from components.inference.context import Message, fit
from components.inference.kv._layer import kept_count


def say(role: str, text: str) -> Message:
    return {"role": role, "content": text}


TALK = [
    say("system", "s1 s2"),
    say("user", "a1 a2 a3"),
    say("assistant", "b1 b2"),
    say("user", "c1 c2"),
    say("assistant", "d1"),
    say("user", "e1 e2"),
]
WORDS = [word for message in TALK for word in message["content"].split()]


def render(messages: list[Message]) -> list[int]:
    return [WORDS.index(word) for message in messages for word in message["content"].split()]


def words(ids: list[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


@pytest.mark.parametrize("policy", ["error", "drop_oldest", "window", "compress"])
def test_what_fits_stays_as_it_is(policy: str) -> None:
    fitted = fit(TALK, render, limit=20, answer=8, policy=policy)
    assert fitted.ids == render(TALK)
    assert (fitted.use.asked, fitted.use.prompt, fitted.use.answer, fitted.use.limit) == (12, 12, 8, 20)
    assert (fitted.use.dropped_turns, fitted.use.dropped_tokens, fitted.use.ratio) == (0, 0, 0)


def test_error_names_the_figures_and_the_remedy() -> None:
    with pytest.raises(InputError, match=r"12 tokens and 9 are asked for, the limit is 20; .*drop_oldest"):
        fit(TALK, render, limit=20, answer=9)


@pytest.mark.parametrize(
    ("limit", "kept", "turns"), [(15, "s1 s2 c1 c2 d1 e1 e2", 2), (11, "s1 s2 c1 c2 d1 e1 e2", 2), (10, "s1 s2 e1 e2", 4)]
)
def test_oldest_turns_go_first_with_their_answers(limit: int, kept: str, turns: int) -> None:
    fitted = fit(TALK, render, limit=limit, answer=4, policy="drop_oldest")
    assert words(fitted.ids) == kept
    assert fitted.use.dropped_turns == turns
    assert fitted.use.prompt + fitted.use.dropped_tokens == fitted.use.asked == 12


def test_last_question_is_never_dropped() -> None:
    with pytest.raises(InputError, match="last message alone takes 4 tokens"):
        fit(TALK, render, limit=7, answer=4, policy="drop_oldest")


@pytest.mark.parametrize(("sinks", "kept"), [(2, "s1 s2 c2 d1 e1 e2"), (0, "b2 c1 c2 d1 e1 e2"), (50, "s1 s2 a1 a2 a3 e2")])
def test_window_keeps_sinks_and_the_latest(sinks: int, kept: str) -> None:
    fitted = fit(TALK, render, limit=10, answer=4, policy="window", sinks=sinks)
    assert words(fitted.ids) == kept
    assert (fitted.use.prompt, fitted.use.dropped_tokens) == (6, 6)


@pytest.mark.parametrize("limit", [6, 9, 12, 15])
def test_compression_keeps_the_tokens_and_asks_for_the_smallest_ratio(limit: int) -> None:
    fitted = fit(TALK, render, limit=limit, answer=4, policy="compress", model_context=100)
    assert fitted.ids == render(TALK)
    assert kept_count(12, fitted.use.ratio) <= limit - 4 < kept_count(12, fitted.use.ratio - 0.001)


def test_compression_saves_no_positions() -> None:
    with pytest.raises(InputError, match="saves memory, not positions, and the model was made for 15"):
        fit(TALK, render, limit=10, answer=4, policy="compress", model_context=15)


def test_answer_needs_room() -> None:
    with pytest.raises(InputError, match="max_tokens=20: has to be at least 1 and below the context limit of 20"):
        fit(TALK, render, limit=20, answer=20)
