"""A grammar that forces a valid call of one of the given tools: ``tool_choice`` ``required``, or a named function.

It is llguidance's dialect of Lark: JSON schemas inline, ``<[17]>`` for the token with that id. Markers that the tokenizer has as
tokens are forced as these tokens, which is how models were trained to write them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.agents.prompts import format_of
from components.agents.schemas import closed
from components.agents.toolcalls import Format, ToolDefinition

_PLAIN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}  # else a model can write spaces for ever
_MOST_AT_ONCE = 8


def call_grammar(tokenizer: Any, tools: Sequence[ToolDefinition], parallel: bool = False, kind: Format | None = None) -> str:
    """Lark grammar of an answer that is a call of one of ``tools`` and nothing else.

    Args:
        tools: those that may be called; at least one.
        parallel: whether several calls may follow each other (eight at most).
        kind: the format; the template's, if None.
    """
    kind = kind or format_of(tokenizer)
    names = {text: _terminal(tokenizer, text) for text in ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]")}
    several = f"{{1,{_MOST_AT_ONCE}}}" if parallel else ""
    if kind == "hermes":
        body = f'/ ?/ call{several}\ncall: {names["<tool_call>"]} "\\n" any "\\n" {names["</tool_call>"]} /\\n?/'
    elif kind == "llama3":
        body = f'any ("; " any){{0,{_MOST_AT_ONCE - 1}}}' if parallel else "any"
    elif not names["[ARGS]"].startswith('"'):
        return _by_name(tools, names, several)
    else:
        rest = f' (", " any){{0,{_MOST_AT_ONCE - 1}}}' if parallel else ""
        body = f'{names["[TOOL_CALLS]"]} / ?/ "[" any{rest} "]"'
    field = "parameters" if kind == "llama3" else "arguments"
    rules = [f"any: {' | '.join(f'tool_{i}' for i in range(len(tools)))}"]
    rules += [f"tool_{i}: %json {json.dumps(_call_schema(tool, field))}" for i, tool in enumerate(tools)]
    return "\n".join([f"start: {body}", *rules])


def _by_name(tools: Sequence[ToolDefinition], names: Mapping[str, str], several: str) -> str:
    """Mistral's later format, where the name stands outside of the JSON."""
    lines = [f"start: call{several}", f"call: {names['[TOOL_CALLS]']} ({' | '.join(f'tool_{i}' for i in range(len(tools)))})"]
    for i, tool in enumerate(tools):
        schema = json.dumps({"x-guidance": _PLAIN, **_arguments(tool)})
        lines.append(f"tool_{i}: {json.dumps(tool['function']['name'])} {names['[ARGS]']} %json {schema}")
    return "\n".join(lines)


def _terminal(tokenizer: Any, text: str) -> str:
    found = tokenizer.get_added_vocab().get(text)
    return json.dumps(text) if found is None else f"<[{found}]>"


def _call_schema(tool: ToolDefinition, field: str) -> dict[str, Any]:
    arguments = _arguments(tool)
    definitions: dict[str, Any] = {name: arguments.pop(name) for name in ("$defs", "definitions") if name in arguments}
    return {
        "x-guidance": _PLAIN,
        "type": "object",
        "properties": {"name": {"const": tool["function"]["name"]}, field: arguments},
        "required": ["name", field],
        "additionalProperties": False,
        **definitions,
    }


def _arguments(tool: ToolDefinition) -> dict[str, Any]:
    schema = closed(tool["function"].get("parameters") or {"type": "object", "properties": {}})
    return {"type": "object", **{name: value for name, value in schema.items() if name not in ("$schema", "$id", "title")}}
