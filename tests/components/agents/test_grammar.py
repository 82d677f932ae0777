"""Whatever a model prefers, the grammar lets it write valid calls only."""

from __future__ import annotations

from typing import Any

import pytest

from components.agents.grammar import call_grammar
from components.agents.prompts import format_of
from components.agents.toolcalls import parse

from .conftest import TOOLS


def random_answer(tokenizer: Any, grammar: str, seed: int) -> str:
    """What a model says that finds every allowed token equally likely."""
    import llguidance.hf
    import numpy as np
    from llguidance import LLMatcher

    matcher = LLMatcher(llguidance.hf.from_tokenizer(tokenizer, n_vocab=len(tokenizer)), LLMatcher.grammar_from_lark(grammar))
    assert not matcher.get_error()
    rng, said = np.random.default_rng(seed), list[int]()
    while not matcher.is_stopped() and len(said) < 1000:
        allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little").nonzero()[0]
        said.append(int(rng.choice(allowed)))
        matcher.consume_token(said[-1])
    ended = said[:-1] if said[-1] == tokenizer.eos_token_id else said
    return str(tokenizer.decode(ended, skip_special_tokens=False))


@pytest.mark.parametrize("parallel", [False, True])
def test_every_answer_is_a_valid_call(family: tuple[str, Any], parallel: bool) -> None:
    _, tokenizer = family
    grammar = call_grammar(tokenizer, TOOLS, parallel)
    answers = [parse(random_answer(tokenizer, grammar, seed), format_of(tokenizer), TOOLS) for seed in range(12)]
    assert all(answer.calls and not answer.malformed and not answer.text for answer in answers)
    assert (max(len(answer.calls) for answer in answers) > 1) == parallel
    assert len({answer.calls[0].name for answer in answers}) > 1


def test_a_named_tool_is_the_one_that_is_called(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    grammar = call_grammar(tokenizer, TOOLS[2:])
    for seed in range(4):
        (call,) = parse(random_answer(tokenizer, grammar, seed), format_of(tokenizer), TOOLS).calls
        assert call.name == "pick"
        assert call.arguments["colour"] in ("red", "blue")


def test_markers_are_forced_as_the_tokens_that_models_were_trained_on(family: tuple[str, Any]) -> None:
    name, tokenizer = family
    marker = {"qwen": "<tool_call>", "mistral": "[TOOL_CALLS]", "mistral_v11": "[TOOL_CALLS]"}.get(name)
    if marker is not None:
        assert f"<[{tokenizer.convert_tokens_to_ids(marker)}]>" in call_grammar(tokenizer, TOOLS)
