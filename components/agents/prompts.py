"""Conversations with tools as a model's template writes them.

A template that takes ``tools`` gets them as transformers' ``apply_chat_template(tools=…)`` gives them. One that doesn't (the
project's own ``plain``, most base models') gets them in its system message, in Hermes' words and tags; calls and results are
written into the messages: calls as ``<tool_call>{…}</tool_call>`` in the assistant's, results as ``<tool_response>…</…>``
in the user's. A model that was trained on neither will rarely call a tool unless a grammar makes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from components.agents.toolcalls import MARKERS, Format, ToolDefinition
from components.errors import InputError

SYSTEM = (
    "You may call functions. Their JSON schemas stand within <tools></tools>:\n<tools>\n{tools}\n</tools>\n"
    'To call one, write a JSON object with its name and arguments within <tool_call></tool_call>:\n<tool_call>\n{{"name": '
    '<function-name>, "arguments": <arguments-object>}}\n</tool_call>'
)
"""What a template that takes no tools is told about them; after Hermes' function-calling prompt (NousResearch)."""


def format_of(tokenizer: Any) -> Format:
    """The format in which a model calls tools, by its template; ``hermes`` if that names none."""
    template = _template(tokenizer)
    if not takes_tools(tokenizer):
        return "hermes"
    if MARKERS["mistral"] in template:
        return "mistral"
    if MARKERS["hermes"] not in template and (MARKERS["llama3"] in template or '"parameters":' in template):
        return "llama3"
    return "hermes"


def takes_tools(tokenizer: Any) -> bool:
    """Whether a tokenizer's template writes the tools that it is given."""
    return _takes_tools(_template(tokenizer))


@lru_cache(maxsize=64)
def _takes_tools(template: str) -> bool:
    """Tried out: templates assign ``tools`` in branches, so reading their source tells less."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    function = {"name": "tool_of_a_trial", "description": "", "parameters": {"type": "object", "properties": {}}}
    conversation = [[{"role": "user", "content": "?"}]]
    try:
        ((text,), _) = render_jinja_template(
            conversation, tools=[{"type": "function", "function": function}], chat_template=template, bos_token="", eos_token=""
        )
    except (TemplateError, TypeError):
        return re.search(r"\btools\b", template) is not None
    return "tool_of_a_trial" in text


def prompt_text(tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolDefinition] = ()) -> str:
    """The text of a conversation up to where the assistant's answer begins.

    Args:
        messages: OpenAI's: ``role`` and ``content``, ``tool_calls`` of an assistant, ``tool_call_id`` of a tool's result.

    Raises:
        InputError: if a call in the conversation isn't one, or the template refuses the conversation, with its words.
    """
    text: str = _render(tokenizer, messages, tools, tokenize=False)
    return text


def prompt_ids(tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolDefinition] = ()) -> list[int]:
    """The same as token ids."""
    ids: list[int] = _render(tokenizer, messages, tools, return_dict=False)
    return ids


def prepared(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolDefinition] = ()
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """(messages, tools) in the form that this tokenizer's ``apply_chat_template`` takes; no tools where its template takes none.

    Raises:
        InputError: if a call in the conversation isn't one.
    """
    plain = _named([_with_arguments(message, i) for i, message in enumerate(messages)])
    if takes_tools(tokenizer):
        kind = format_of(tokenizer)
        plain = _one_call_each(plain) if kind == "llama3" else _short_ids(plain) if kind == "mistral" else plain
        return plain, [_whole(tool) for tool in tools] or None
    return _as_text(plain, tools), None


def _render(tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolDefinition], **how: Any) -> Any:
    from jinja2 import TemplateError

    plain, given = prepared(tokenizer, messages, tools)
    try:
        return tokenizer.apply_chat_template(plain, tools=given, add_generation_prompt=True, **how)
    except (TemplateError, TypeError) as error:
        raise InputError(f"the model's chat template refuses this conversation: {str(error)[:300]}") from error


def _with_arguments(message: Mapping[str, Any], place: int) -> dict[str, Any]:
    """A message whose calls hold their arguments as an object: templates write these as JSON themselves."""
    found = {name: value for name, value in message.items() if value is not None and name != "tool_calls"}
    found["content"] = found.get("content") or ""
    if not message.get("tool_calls"):
        return found
    calls = []
    for i, call in enumerate(message["tool_calls"]):
        try:
            function = call["function"]
            given = function.get("arguments") or "{}"
            arguments = json.loads(given) if isinstance(given, str) else given
            if not isinstance(function["name"], str) or not isinstance(arguments, dict):
                raise TypeError
            calls.append({"id": call.get("id"), "type": "function", "function": {"name": function["name"], "arguments": arguments}})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            where = f"messages[{place}].tool_calls[{i}]"
            raise InputError(f"{where} isn't a call; give function.name, and function.arguments as a JSON object") from error
    return {**found, "tool_calls": calls}


def _named(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with the name of their tool, which Hermes' template asks for and OpenAI's API doesn't send."""
    names = {call["id"]: call["function"]["name"] for message in messages for call in message.get("tool_calls", [])}
    return [{"name": names.get(m.get("tool_call_id"), "tool"), **m} if m["role"] == "tool" else m for m in messages]


def _whole(tool: ToolDefinition) -> dict[str, Any]:
    """A tool with all the fields that templates read without asking."""
    whole = {"description": "", "parameters": {"type": "object", "properties": {}}, **tool["function"]}
    return {"type": "function", "function": whole}


def _one_call_each(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Several calls of a message as messages of one call, each before its result: Llama 3's templates take no more."""
    found: list[dict[str, Any]] = []
    results = {m.get("tool_call_id"): m for m in messages if m["role"] == "tool"}
    moved: set[int] = set()
    for message in messages:
        calls = message.get("tool_calls") or []
        if len(calls) < 2:
            found += [message] if id(message) not in moved else []
            continue
        for i, call in enumerate(calls):
            found.append({**message, "content": message["content"] if i == 0 else "", "tool_calls": [call]})
            if (result := results.get(call["id"])) is not None:
                found.append(result)
                moved.add(id(result))
    return found


def _short_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ids of nine letters and digits, whatever a client called them: Mistral's templates take no others."""

    def short(given: Any) -> str:
        text = str(given)
        return text if len(text) == 9 and text.isalnum() and text.isascii() else hashlib.sha256(text.encode()).hexdigest()[:9]

    found = []
    for message in messages:
        if calls := message.get("tool_calls"):
            message = {**message, "tool_calls": [{**call, "id": short(call["id"])} for call in calls]}
        if "tool_call_id" in message:
            message = {**message, "tool_call_id": short(message["tool_call_id"])}
        found.append(message)
    return found


def _as_text(messages: list[dict[str, Any]], tools: Sequence[ToolDefinition]) -> list[dict[str, Any]]:
    """The same conversation for a template that knows neither tools nor calls nor results."""
    found: list[dict[str, Any]] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "tool":
            text = f"<tool_response>\n{content}\n</tool_response>"
            if found and found[-1].get("results"):
                found[-1]["content"] += f"\n{text}"
            else:
                found.append({"role": "user", "content": text, "results": True})
            continue
        calls = [
            f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>"
            for call in message.get("tool_calls", [])
        ]
        found.append({"role": role, "content": "\n".join([content, *calls] if content else calls) if calls else content})
    if tools:
        text = SYSTEM.format(tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools))
        if found and found[0]["role"] == "system":
            found[0]["content"] = f"{found[0]['content']}\n\n{text}"
        else:
            found.insert(0, {"role": "system", "content": text})
    return [{"role": message["role"], "content": message["content"]} for message in found]


def _template(tokenizer: Any) -> str:
    """The template's text; of several, the one for tools if there is one."""
    template = tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("tool_use", template.get("default", ""))
    return str(template or "")
