"""Every family's template gets tools, calls and results in the shape that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.agents.prompts import format_of, prompt_ids, prompt_text, takes_tools
from components.errors import InputError

from .conftest import CONVERSATION, TOOLS, tokenizer_of


def test_tools_calls_and_results_reach_the_model(family: tuple[str, Any]) -> None:
    name, tokenizer = family
    text = prompt_text(tokenizer, CONVERSATION, TOOLS)
    field = "parameters" if name == "llama3" else "arguments"
    for part in ("add", "pick", f'"{field}": {{"a": 1, "b": 2}}', "three", "noon", "1+2, and the time?"):
        assert part in text
    assert text.index("three") < text.index("noon")
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == prompt_ids(tokenizer, CONVERSATION, TOOLS)


def test_the_format_is_the_templates(family: tuple[str, Any]) -> None:
    name, tokenizer = family
    expected = {"plain": "hermes", "qwen": "hermes", "mistral_v11": "mistral"}.get(name, name)
    assert format_of(tokenizer) == expected
    assert takes_tools(tokenizer) == (name != "plain")


def test_without_tools_the_text_is_the_templates_own(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    messages = [{"role": "user", "content": "Hello"}]
    assert prompt_text(tokenizer, messages) == tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def test_a_template_without_tools_gets_them_in_the_system_message(tiny_llama: Path) -> None:
    tokenizer = tokenizer_of("plain", tiny_llama)
    text = prompt_text(tokenizer, CONVERSATION, TOOLS)
    assert text.index("Be brief.") < text.index("<tools>") < text.index("Question: 1+2, and the time?")
    assert 'Answer: <tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>' in text
    assert "Question: <tool_response>\nthree\n</tool_response>\n<tool_response>\nnoon\n</tool_response>\nAnswer:" in text


def test_conversations_that_no_template_can_write_are_refused(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    for calls in (
        [{"id": "1", "function": {"name": "add", "arguments": "{"}}],
        [{"id": "1"}],
        ["add"],
        [{"function": {"name": 3}}],
    ):
        with pytest.raises(InputError, match=r"messages\[1\].tool_calls\[0\] isn't a call"):
            prompt_text(tokenizer, [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": calls}], TOOLS)


def test_a_templates_refusal_is_told_in_its_words(tiny_llama: Path) -> None:
    tokenizer = tokenizer_of("plain", tiny_llama)
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    with pytest.raises(InputError, match="no system role"):
        prompt_text(tokenizer, CONVERSATION)
