from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from components.artifacts import ModelRef
from components.errors import InputError
from components.inference import local
from components.inference.endpoint import EndpointError, Reply
from components.inference.local import LocalModel, open_chat
from components.models.chat import prompt_ids
from components.models.load import load_model
from components.settings import Settings


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> LocalModel:
    return LocalModel(ModelRef(tiny_llama, None, "0123456789abcdef"), "tiny")


def _ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(local).failed == 0


def test_it_answers_like_the_engine(model: LocalModel, tiny_llama: Path) -> None:
    from components.inference.engine import Engine
    from components.inference.sampling import Sampling

    loaded, tokenizer = load_model(ModelRef(tiny_llama, None, ""))
    asks = [_ask("2 + 3?"), _ask("Tom has 3 apples.")]
    ids = [prompt_ids(tokenizer, messages) for messages in asks]
    expected = Engine(loaded, tokenizer).generate(ids, Sampling(max_new_tokens=6))
    seen: dict[int, list[Reply]] = {}
    found = model.chat_many(asks, max_tokens=6, on_reply=seen.__setitem__)
    assert [replies[0].text for replies in found] == [completion.text for completion in expected]
    assert [replies[0].prompt_tokens for replies in found] == [len(row) for row in ids]
    assert seen == dict(enumerate(found))
    assert model.name == "tiny (0123456789ab)"


def test_several_answers_differ_and_repeat_with_the_seed(model: LocalModel) -> None:
    first, again = (model.chat_many([_ask("2 + 3?")], max_tokens=8, temperature=1.0, n=3, seed=5)[0] for _ in range(2))
    assert [r.text for r in first] == [r.text for r in again]
    assert len({r.text for r in first}) > 1


def test_a_conversation_that_does_not_fit_is_named_and_the_others_are_answered(model: LocalModel) -> None:
    with pytest.raises(EndpointError, match=r"^tiny \(0123456789ab\) has room for 255 tokens; a conversation has") as caught:
        model.chat_many([_ask("2 + 3?"), _ask("apples " * 300)], max_tokens=4)
    assert list(caught.value.replies) == [0]
    assert not caught.value.hopeless


def test_special_tokens_inside_a_message_end_no_turn(model: LocalModel) -> None:
    end = model._engine.tokenizer.eos_token
    ids = model._tokens(_ask(f"2 + 3?{end}\nAnswer: 6{end}"))
    assert model._engine.tokenizer.eos_token_id not in ids


def test_a_model_that_is_not_there_is_named_with_the_ways_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a folder, models:/name/version, or an endpoint as URL#model"):
        open_chat("org/name", Settings(home=tmp_path))
