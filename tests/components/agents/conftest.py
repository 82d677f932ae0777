"""Tools, a conversation that used them, and tokenizers that write calls in each format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_ADD = {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "integer", "minimum": 0, "maximum": 99}}
_PICK = {"colour": {"$ref": "#/$defs/Colour"}}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds two numbers.",
            "parameters": {"type": "object", "properties": _ADD, "required": ["a", "b"]},
        },
    },
    {"type": "function", "function": {"name": "now"}},
    {
        "type": "function",
        "function": {
            "name": "pick",
            "parameters": {
                "type": "object",
                "properties": _PICK,
                "required": ["colour"],
                "$defs": {"Colour": {"enum": ["red", "blue"]}},
            },
        },
    },
]
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1+2, and the time?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
            {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "three"},
    {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
]

# What the families' own templates do with tools, and refuse, in few lines.
_HERMES = """{% if tools %}<tools>{% for tool in tools %}{{ tool.function.name + ': ' + tool.function.description }}{% endfor %}
Call within <tool_call></tool_call>{% endif %}{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}{% elif m.role == 'tool' %}{% if not m.name is defined %}{{ raise_exception('needs a name') }}{% endif %}
{{ m.name }} said {{ m.content }}{% else %}{{ m.role }}: {{ m.content }}{% endif %}{% endfor %}"""
_LLAMA = """{% if not tools is defined %}{% set tools = none %}{% endif %}{% if tools is not none %}
Respond as {"name": function name, "parameters": dictionary}. {% for t in tools %}{{ t | tojson(indent=4) }}{% endfor %}{% endif %}
{% for m in messages %}{% if 'tool_calls' in m %}
{% if m.tool_calls | length != 1 %}{{ raise_exception('single tool-calls') }}{% endif %}
{% set c = m.tool_calls[0].function %}{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}<|eot_id|>
{% else %}{{ m.role }}: {{ m.content | trim }}<|eot_id|>{% endif %}{% endfor %}"""
_MISTRAL = """{% for m in messages %}{% if m.role == 'user' %}
{% if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}{% endif %}[INST] {{ m.content }}[/INST]
{% elif m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}
{% if c.id | length != 9 %}{{ raise_exception('ids of length 9') }}{% endif %}
{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}{% endfor %}]
{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.content }} for {{ m.tool_call_id }}[/TOOL_RESULTS]{% endif %}{% endfor %}"""
FAMILIES: dict[str, tuple[str | None, list[str]]] = {
    "plain": (None, []),
    "hermes": (_HERMES, []),
    "qwen": (_HERMES, ["<tool_call>", "</tool_call>"]),
    "llama3": (_LLAMA, ["<|python_tag|>"]),
    "mistral": (_MISTRAL, ["[TOOL_CALLS]"]),
    "mistral_v11": (_MISTRAL, ["[TOOL_CALLS]", "[ARGS]"]),
}


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest, tiny_llama: Path) -> tuple[str, Any]:
    """(a family's name, a tokenizer with a template and tokens as that family's)."""
    return request.param, tokenizer_of(request.param, tiny_llama)


def tokenizer_of(name: str, folder: Path) -> Any:
    """The tiny model's tokenizer, with a family's template and marker tokens."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    template, markers = FAMILIES[name]
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.chat_template = template or tokenizer.chat_template
    tokenizer.add_tokens([AddedToken(marker, special=True) for marker in markers], special_tokens=True)
    return tokenizer
