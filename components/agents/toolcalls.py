r"""What a model writes when it calls a tool, read back: the calls, the text around them, and what looks like a call and is none.

=========== ==============================================================================================================
format      an answer with a call
=========== ==============================================================================================================
hermes      ``<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>`` (Hermes 2 and later, Qwen 2.5 and later)
llama3      ``{"name": "f", "parameters": {"x": 1}}``, also behind ``<|python_tag|>`` (Llama 3.1 and later)
mistral     ``[TOOL_CALLS] [{"name": "f", "arguments": {"x": 1}}]``, or ``[TOOL_CALLS]f[ARGS]{"x": 1}`` (since tokenizer v11)
=========== ==============================================================================================================

The markers are special tokens of many tokenizers: decode answers with ``skip_special_tokens=False`` where there are tools, else
they are lost. Nothing here runs a tool; a call that isn't whole JSON, names an unknown tool or has other arguments than its
tool takes is reported as ``Malformed``, and whoever runs tools never gets it as a ``Call``.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from components.errors import InputError

Format = Literal["hermes", "llama3", "mistral"]
ToolDefinition = Mapping[str, Any]
"""A tool as OpenAI's API describes it: ``{"type": "function", "function": {"name", "description", "parameters": JSON schema}}``."""

MOST_TOOLS = 128
MARKERS: Mapping[Format, str] = {"hermes": "<tool_call>", "llama3": "<|python_tag|>", "mistral": "[TOOL_CALLS]"}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ID_LETTERS = string.ascii_letters + string.digits
_CLOSE, _ARGS, _CALL_ID = "</tool_call>", "[ARGS]", "[CALL_ID]"
_BARE = re.compile(r"\s*\{\s*\"(?:name|parameters|arguments|type)\"")
_BARE_START = re.compile(r"\s*(?:\{\s*(?:\"\w*(?:\"[\s\S]*)?)?)?")


@dataclass(frozen=True)
class Call:
    """One call of a tool.

    Attributes:
        id: nine letters and digits: what Mistral's templates ask for, and everybody else takes.
    """

    id: str
    name: str
    arguments: dict[str, Any]

    def message(self) -> dict[str, Any]:
        """It as an entry of an OpenAI message's ``tool_calls``."""
        arguments = json.dumps(self.arguments, ensure_ascii=False)
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


@dataclass(frozen=True)
class Malformed:
    """What looks like a call and isn't one: ``text`` as written, and ``reason`` in a sentence that a model can use."""

    text: str
    reason: str


@dataclass(frozen=True)
class Parsed:
    """An answer, taken apart.

    Attributes:
        text: what stands outside calls, whitespace at both ends removed if there are calls.
    """

    text: str
    calls: tuple[Call, ...] = ()
    malformed: tuple[Malformed, ...] = ()


def checked(tools: Sequence[Any]) -> tuple[ToolDefinition, ...]:
    """Tools of a request, looked at before anything is made from them.

    Raises:
        InputError: names the tool's place and what is wrong with it.
    """
    from components.agents import schemas

    if len(tools) > MOST_TOOLS:
        raise InputError(f"tools has {len(tools)} entries; {MOST_TOOLS} are the most")
    seen: set[str] = set()
    for i, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type", "function") == "function" else None
        if not isinstance(function, Mapping):
            raise InputError(f'tools[{i}] isn\'t a function tool; give {{"type": "function", "function": {{"name": …}}}}')
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(f"tools[{i}].function.name is {str(name)[:80]!r}; use up to 64 letters, digits, '_', '-' and '.'")
        if name in seen:
            raise InputError(f"tools[{i}].function.name={name!r} stands twice; give each tool a name of its own")
        seen.add(name)
        schemas.check(function.get("parameters"), f"tools[{i}].function.parameters")
    return tuple(tools)


def chosen(tools: Sequence[ToolDefinition], choice: Any) -> tuple[tuple[ToolDefinition, ...], bool]:
    """(tools that may be called, whether one must be) by OpenAI's ``tool_choice``: None, a word, or a named function.

    Raises:
        InputError: if the choice is none of these, names no tool, or asks for a call where there are no tools.
    """
    if choice is None or choice == "auto":
        return tuple(tools), False
    if choice == "none":
        return (), False
    if choice == "required" and tools:
        return tuple(tools), True
    wanted = choice.get("function", choice).get("name") if isinstance(choice, Mapping) else None
    found = tuple(tool for tool in tools if tool["function"]["name"] == wanted)
    if not found:
        known = ", ".join(tool["function"]["name"] for tool in tools) or "none"
        raise InputError(f"tool_choice={json.dumps(choice)[:120]} fits no tool of this request; its tools: {known}")
    return found, True


def parse(text: str, kind: Format, tools: Sequence[ToolDefinition]) -> Parsed:
    """Takes an answer apart.

    Args:
        text: the whole answer, special tokens of tool calls included, the end token not.
        tools: those of the request; without any, all of it is text.
    """
    if not tools:
        return Parsed(text)
    reader = _Reader(tools)
    rest = {"hermes": _hermes, "llama3": _llama3, "mistral": _mistral}[kind](text, reader)
    return Parsed(rest.strip() if reader.calls or reader.malformed else rest, tuple(reader.calls), tuple(reader.malformed))


class Stream:
    """An answer that comes in pieces: text is given on at once, what may become a call is kept until the end."""

    def __init__(self, kind: Format, tools: Sequence[ToolDefinition]) -> None:
        self._kind, self._tools = kind, tools
        self._text, self._given, self._holding = "", 0, False

    def push(self, piece: str) -> str:
        """Adds a piece; returns the text that is surely outside of calls and wasn't returned before."""
        self._text += piece
        if self._holding:
            return ""
        until = self._safe()
        found, self._given = self._text[self._given : until], until
        return found

    def close(self) -> Parsed:
        """The calls, and the text that no ``push`` returned."""
        behind = self._text[self._given :]
        found = parse(behind, self._kind, self._tools)
        if self._given and found.text:
            start = behind[: len(behind) - len(behind.lstrip())]
            return replace(found, text=start + found.text.lstrip())
        return found

    def _safe(self) -> int:
        """How much of the text is outside of calls whatever follows."""
        if not self._tools:
            return len(self._text)
        if self._kind == "llama3" and _BARE_START.fullmatch(self._text):
            return 0
        marker = MARKERS[self._kind]
        if (at := self._text.find(marker, self._given)) >= 0:
            self._holding = True
            return len(self._text[:at].rstrip())
        for size in range(min(len(marker) - 1, len(self._text)), 0, -1):
            if self._text.endswith(marker[:size]):
                return max(self._given, len(self._text[:-size].rstrip()))
        return max(self._given, len(self._text.rstrip()))  # whitespace before a call isn't text


class _Reader:
    """Collects calls and what is none."""

    def __init__(self, tools: Sequence[ToolDefinition]) -> None:
        self._tools = {tool["function"]["name"]: tool for tool in tools}
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)
        self.calls: list[Call] = []
        self.malformed: list[Malformed] = []

    def decode(self, text: str, at: int) -> tuple[Any, int] | str:
        """(JSON value that begins at a place, place behind it), or why there is none."""
        try:
            value, end = self._decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            return f"it isn't JSON: {error.msg} at character {error.pos - at + 1}"
        except (ValueError, RecursionError) as error:
            return f"it isn't JSON that can be read: {str(error)[:100]}"
        return value, end

    def take(self, value: Any, text: str) -> None:
        """A decoded call, or what stands in its place."""
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            self.reject(text, 'it isn\'t an object with a "name" and "arguments"')
            return
        arguments = value.get("arguments", value.get("parameters", {}))
        if isinstance(arguments, str) and isinstance(decoded := self.decode(arguments.strip(), 0), tuple):
            arguments = decoded[0]  # some models quote them, as OpenAI's API does
        reason = problem(self._tools, value["name"], arguments)
        if reason is not None or not isinstance(arguments, dict):
            self.reject(text, str(reason))
        else:
            self.calls.append(Call(new_id(), value["name"], arguments))

    def reject(self, text: str, reason: str) -> None:
        self.malformed.append(Malformed(text, reason))


def problem(tools: Mapping[str, ToolDefinition], name: str, arguments: Any) -> str | None:
    """Why a call can't be made, in a sentence, or None."""
    from components.agents.schemas import misfit

    if name not in tools:
        return f"there is no tool {name[:64]!r}; there are {', '.join(sorted(tools))}"
    if not isinstance(arguments, dict):
        return f"the arguments of {name} aren't a JSON object"
    found = misfit(tools[name]["function"].get("parameters"), arguments)
    return None if found is None else f"the arguments of {name} {found}"


def new_id() -> str:
    """An id for a call."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(9))


def _hermes(text: str, reader: _Reader) -> str:
    rest, at = "", 0
    while (start := text.find(MARKERS["hermes"], at)) >= 0:
        rest += text[at:start]
        begin = _skip_space(text, start + len(MARKERS["hermes"]))
        decoded = reader.decode(text, begin)
        if isinstance(decoded, tuple):
            end = _skip_space(text, decoded[1])
            closed = text.startswith(_CLOSE, end)
            if closed or end == len(text):  # a stop string may have taken the closing tag, and the call is whole
                at = end + len(_CLOSE) * closed
                reader.take(decoded[0], text[start:at])
                continue
            decoded = "something other than </tool_call> follows it"
        close = text.find(_CLOSE, begin)
        at = len(text) if close < 0 else close + len(_CLOSE)
        reader.reject(text[start:at], decoded)
    return rest + text[at:]


def _llama3(text: str, reader: _Reader) -> str:
    before, tag, body = text.partition(MARKERS["llama3"])
    if not tag:
        before, body = "", text
        if not _BARE.match(text):
            return text
    at = _skip_space(body, 0)
    while at < len(body):
        decoded = reader.decode(body, at)
        if isinstance(decoded, str):
            reader.reject(tag + body[at:], decoded)
            break
        value, end = decoded
        for item in value if isinstance(value, list) else [value]:
            reader.take(item, tag + body[at:end])
        at = _skip_space(body, end)
        if at < len(body) and body[at] in ";,":
            at = _skip_space(body, at + 1)
        elif at < len(body) and not body.startswith("{", at):
            return before + body[at:]
    return before


def _mistral(text: str, reader: _Reader) -> str:
    rest, *parts = text.split(MARKERS["mistral"])
    for part in parts:
        whole, body = MARKERS["mistral"] + part, part.strip()
        name, named, arguments = body.partition(_ARGS)
        decoded = reader.decode(arguments.strip() if named else body, 0)
        if isinstance(decoded, str):
            reader.reject(whole, decoded)
            continue
        value, end = decoded
        rest += (arguments.strip() if named else body)[end:]
        if named:
            value = {"name": name.partition(_CALL_ID)[0].strip(), "arguments": value}
        for item in value if isinstance(value, list) else [value]:
            reader.take(item, whole)
    return rest


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
