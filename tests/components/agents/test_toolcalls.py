"""Calls are read in every format; what is none is reported and never a call; streams hold back nothing but calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.agents.toolcalls import Format, Stream, checked, chosen, parse
from components.errors import InputError

from .conftest import TOOLS

ADD = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
NOW = '{"name": "now", "arguments": {}}'
WHOLE: list[tuple[Format, str, list[str], str]] = [
    ("hermes", f"<tool_call>\n{ADD}\n</tool_call>", ["add"], ""),
    (
        "hermes",
        f"Let me see.\n<tool_call>{ADD}</tool_call> <tool_call>{NOW}</tool_call>\nSo.",
        ["add", "now"],
        "Let me see.\n \nSo.",
    ),
    ("hermes", f"<tool_call>\n{NOW}", ["now"], ""),  # a stop string took the closing tag
    ("llama3", '{"name": "add", "parameters": {"a": 1, "b": 2}}', ["add"], ""),
    ("llama3", '<|python_tag|>{"name": "now", "parameters": {}}; {"name": "now"}', ["now", "now"], ""),
    ("mistral", f"[TOOL_CALLS] [{ADD}, {NOW}]", ["add", "now"], ""),
    ("mistral", 'Sure.[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{"a": 1, "b": 2}[TOOL_CALLS]now[ARGS]{}', ["add", "now"], "Sure."),
]
BROKEN: list[tuple[Format, str, str]] = [
    ("hermes", '<tool_call>{"name": "add", "argum', "isn't JSON"),
    ("hermes", "<tool_call>add(1, 2)</tool_call>", "isn't JSON"),
    ("hermes", f"<tool_call>{ADD} and then</tool_call>", "follows it"),
    ("hermes", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>', "no tool 'rm'"),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', "'b' is a required property"),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": "1", "b": 2}}</tool_call>', "at a"),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2, "c": 3}}</tool_call>', "'c' was unexpected"),
    ("hermes", '<tool_call>{"name": "pick", "arguments": {"colour": "green"}}</tool_call>', "not one of"),
    ("hermes", '<tool_call>{"name": "add", "arguments": [1, 2]}</tool_call>', "aren't a JSON object"),
    ("hermes", '<tool_call>["add"]</tool_call>', 'with a "name"'),
    ("hermes", "<tool_call>" + "[" * 100_000, "isn't JSON"),
    ("llama3", '<|python_tag|>add.call(a=1, b="2")', "isn't JSON"),
    ("llama3", '{"name": "add", "parameters": {"a": NaN, "b": 2}}', "NaN"),
    ("mistral", "[TOOL_CALLS] [" + ADD, "isn't JSON"),
]


@pytest.mark.parametrize(("kind", "text", "names", "rest"), WHOLE)
def test_calls_are_read(kind: Format, text: str, names: list[str], rest: str) -> None:
    found = parse(text, kind, TOOLS)
    assert [call.name for call in found.calls] == names
    assert all(call.arguments == ({"a": 1, "b": 2} if call.name == "add" else {}) for call in found.calls)
    assert found.text == rest
    assert not found.malformed
    assert json.loads(found.calls[0].message()["function"]["arguments"]) == found.calls[0].arguments


@pytest.mark.parametrize(("kind", "text", "reason"), BROKEN)
def test_what_is_no_call_is_reported_and_never_called(kind: Format, text: str, reason: str) -> None:
    found = parse(text, kind, TOOLS)
    assert not found.calls
    assert len(found.malformed) == 1
    assert reason in found.malformed[0].reason
    assert found.malformed[0].text in text


@pytest.mark.parametrize("kind", ["hermes", "llama3", "mistral"])
def test_plain_text_stays_as_it_is(kind: Format) -> None:
    for text in (' {"a": 3} is JSON.\n', " 1 < 2 and [1] ", "", '{"names": 1}'):
        assert parse(text, kind, TOOLS).text == text
    assert parse(f"<tool_call>{ADD}</tool_call>", kind, []).text == f"<tool_call>{ADD}</tool_call>"


def test_a_closing_tag_inside_of_an_argument_ends_nothing() -> None:
    tool = {"type": "function", "function": {"name": "say", "parameters": {"type": "object", "properties": {"x": {}}}}}
    found = parse('<tool_call>{"name": "say", "arguments": {"x": "</tool_call>"}}</tool_call>', "hermes", [tool])
    assert [call.arguments for call in found.calls] == [{"x": "</tool_call>"}]
    assert found.text == ""


@pytest.mark.parametrize(
    ("kind", "text"), [(w[0], w[1]) for w in WHOLE] + [(b[0], b[1]) for b in BROKEN] + [("hermes", "a <t b <tool c")]
)
@pytest.mark.parametrize("size", [1, 5])
def test_a_stream_says_the_same_as_the_whole(kind: Format, text: str, size: int) -> None:
    stream, whole = Stream(kind, TOOLS), parse(text, kind, TOOLS)
    given = [stream.push(text[i : i + size]) for i in range(0, min(len(text), 2000), size)]
    rest = stream.close()
    assert not any("tool_call>" in piece or "TOOL_CALLS" in piece or '"name"' in piece for piece in given)
    assert [call.name for call in rest.calls] == [call.name for call in whole.calls]
    assert len(rest.malformed) == len(whole.malformed)
    assert ("".join(given) + rest.text).split() == whole.text.split()


@pytest.mark.parametrize("kind", ["hermes", "llama3", "mistral"])
def test_text_streams_at_once(kind: Format) -> None:
    assert Stream(kind, TOOLS).push("Hello") == "Hello"


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([{"type": "retrieval"}], "tools[0] isn't a function tool"),
        (["add"], "tools[0] isn't a function tool"),
        ([{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name is 'a b'"),
        ([TOOLS[0], TOOLS[0]], "stands twice"),
        (
            [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": 3}}}],
            "isn't a JSON schema",
        ),
        ([{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}], "JSON schema of an object"),
        ([TOOLS[0]] * 200, "200 entries"),
    ],
)
def test_tools_that_are_none_are_refused_with_their_place(tools: list[Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        checked(tools)
    assert words in str(caught.value)


def test_a_choice_says_which_tools_and_whether() -> None:
    assert chosen(TOOLS, None) == (tuple(TOOLS), False)
    assert chosen(TOOLS, "none") == ((), False)
    assert chosen(TOOLS, "required") == (tuple(TOOLS), True)
    assert chosen(TOOLS, {"type": "function", "function": {"name": "now"}}) == ((TOOLS[1],), True)
    for wrong in ("maybe", {"type": "function", "function": {"name": "rm"}}, 3):
        with pytest.raises(InputError, match="fits no tool"):
            chosen(TOOLS, wrong)
    with pytest.raises(InputError, match="its tools: none"):
        chosen([], "required")


def test_a_schema_fetches_nothing_and_searches_no_pattern_of_a_stranger() -> None:
    def tool(**schema: Any) -> list[dict[str, Any]]:
        parameters = {"type": "object", "properties": {"x": schema}}
        return [{"type": "function", "function": {"name": "f", "parameters": parameters}}]

    call = '<tool_call>{"name": "f", "arguments": {"x": "' + "a" * 40 + '!"}}</tool_call>'
    (malformed,) = parse(call, "hermes", tool(**{"$ref": "http://127.0.0.1:9/schema"})).malformed
    assert "points to http://127.0.0.1:9/schema" in malformed.reason
    assert parse(call, "hermes", tool(pattern="^(a+)+$")).calls  # Python's re would search for years
