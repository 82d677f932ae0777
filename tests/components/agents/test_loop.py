"""The loop runs what a model calls and tells it what came of it; every limit ends it; every step is told and traced."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.agents import toolfiles
from components.agents.loop import Called, Ended, Event, Limits, Loop, Malformed, Returned
from components.agents.toolbox import Toolbox
from components.agents.traces import Trace
from components.inference.client import Ask, Client, ServerError
from components.inference.reading import Text, Use

QUESTION = ({"role": "user", "content": "What is 6 times 7?"},)
CALCULATE = ("calculator", '{"expression": "6*7"}')


class Turn:
    """A loop against a server that says what it is told to say, in order."""

    def __init__(self, chat_server: Callable[..., Any], say: list[Any], **options: Any) -> None:
        remaining = iter(say)
        self.server = chat_server(lambda _: next(remaining))
        ask = Ask("m", QUESTION, **{name: options.pop(name) for name in ("temperature", "tool_choice") if name in options})
        self.trace = Trace("agent", options.pop("folder", None))
        toolbox = Toolbox(toolfiles.find("calculator"))
        self.events: list[Event] = list(Loop(Client(self.server.url), ask, toolbox, trace=self.trace, **options))

    def of(self, kind: Any) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def end(self) -> Ended:
        last = self.events[-1]
        assert isinstance(last, Ended)
        return last


def test_a_call_is_run_and_its_result_told(chat_server: Callable[..., Any]) -> None:
    turn = Turn(chat_server, [[CALCULATE], "It is 42."], temperature=0.5, tool_choice="required")
    kinds = [type(event).__name__ for event in turn.events]
    assert kinds == ["Use", "Reply", "Called", "Returned", "Text", "Text", "Text", "Use", "Reply", "Ended"]
    assert turn.of(Called) == [Called(1, *CALCULATE)]
    (result,) = turn.of(Returned)
    assert (result.text, result.ok, result.name) == ("42", True, "calculator")
    assert [(use.completion_tokens, use.reused_tokens) for use in turn.of(Use)] == [(5, 3), (5, 3)]
    assert (turn.end.reason, turn.end.steps, turn.end.tokens) == ("answer", 2, 10)
    assert [message["role"] for message in turn.end.messages] == ["assistant", "tool", "assistant"]
    first, second = turn.server.requests
    assert second["messages"] == list(QUESTION) + list(turn.end.messages[:2])
    assert first["tools"][0]["function"]["name"] == "calculator"
    assert first["temperature"] == second["temperature"] == 0.5
    assert first["tool_choice"] == "required"
    assert "tool_choice" not in second  # who must always call a tool never answers


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("calculator", '{"expression": "1/0"}'), "division by zero"),
        (("calculator", '{"expression": '), "aren't JSON"),
        (("calculator", '{"expr": "1"}'), "don't fit"),
        (("shell", "{}"), "there is no tool 'shell'"),
    ],
)
def test_an_error_goes_back_to_the_model(chat_server: Callable[..., Any], call: tuple[str, str], words: str) -> None:
    turn = Turn(chat_server, [[call], "I see."])
    (result,) = turn.of(Returned)
    assert not result.ok
    told = turn.server.requests[1]["messages"][-1]
    assert told["role"] == "tool"
    assert told["tool_call_id"] == "call0"
    assert words in told["content"]
    json.loads(turn.server.requests[1]["messages"][-2]["tool_calls"][0]["function"]["arguments"])
    assert turn.end.reason == "answer"


def test_a_malformed_call_is_never_run(chat_server: Callable[..., Any]) -> None:
    turn = Turn(chat_server, ['<tool_call>{"name": "calculator", "arguments": {"expression": 3}}</tool_call>', "Sorry."])
    assert not turn.of(Returned)
    (malformed,) = turn.of(Malformed)
    assert "don't fit at expression" in malformed.reason
    assert "was not run" in turn.server.requests[1]["messages"][-1]["content"]
    assert turn.end.reason == "answer"


def test_calls_beyond_the_limit_are_not_run(chat_server: Callable[..., Any]) -> None:
    turn = Turn(chat_server, [[CALCULATE] * 3, "Done."], limits=Limits(calls=2))
    assert [event.text[:14] for event in turn.of(Returned)] == ["42", "42", "Error: not run"]


def test_the_last_step_is_asked_for_words(chat_server: Callable[..., Any]) -> None:
    turn = Turn(chat_server, [[CALCULATE]] * 3, limits=Limits(steps=3))
    assert len(turn.server.requests) == 3
    assert [request.get("tool_choice") for request in turn.server.requests] == [None, None, "none"]
    assert turn.end.reason == "steps"
    assert len(turn.of(Returned)) == 2


def test_tokens_and_time_end_it(chat_server: Callable[..., Any], streamed: Callable[..., Any]) -> None:
    turn = Turn(chat_server, ["one two three four five six seven eight"], limits=Limits(tokens=3))
    assert turn.end.reason == "tokens"
    assert turn.end.messages[0]["content"] == "onetwothreefour"  # the fourth said that it was one too many
    turn = Turn(chat_server, [[CALCULATE], "never said"], limits=Limits(tokens=5))
    assert turn.end.reason == "tokens"
    assert len(turn.server.requests) == 1
    start = time.monotonic()
    turn = Turn(chat_server, [streamed(" ".join("ab" * 50), pause=0.2)], limits=Limits(seconds=2))
    assert turn.end.reason == "seconds"
    assert time.monotonic() - start < 10, "all of it takes 20"
    assert turn.end.messages[0]["content"].startswith("ab")
    assert Turn(chat_server, [streamed("cut", finish="length")]).end.reason == "length"


def test_it_can_be_stopped(chat_server: Callable[..., Any], streamed: Callable[..., Any]) -> None:
    server = chat_server(lambda _: streamed("a b c d e f g h", pause=0.2))
    loop, events = Loop(Client(server.url), Ask("m", QUESTION)), list[Event]()
    for event in loop:
        events.append(event)
        if isinstance(event, Text):
            loop.stop()
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "stopped"
    assert events[-1].messages[0]["content"] == "a"
    assert "tools" not in server.requests[0]


def test_every_step_is_a_span(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    turn = Turn(chat_server, [[CALCULATE, ("calculator", '{"expression": "1/0"}')], "It is 42."], folder=tmp_path)
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text())
    assert record["id"] == turn.trace.id
    root, *steps = record["spans"]
    assert [(span["name"], span["type"], span["ok"]) for span in steps] == [
        ("chat", "CHAT_MODEL", True),
        ("calculator", "TOOL", True),
        ("calculator", "TOOL", False),
        ("chat", "CHAT_MODEL", True),
    ]
    assert all(span["parent"] == root["id"] and root["start"] <= span["start"] <= span["end"] <= root["end"] for span in steps)
    assert steps[1]["outputs"] == "42"
    assert root["outputs"]["reason"] == "answer"


def test_a_server_that_fails_is_an_error_and_a_failed_trace(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    from starlette.responses import JSONResponse

    with pytest.raises(ServerError, match="planted"):
        Turn(chat_server, [[CALCULATE], JSONResponse({"error": {"message": "planted"}}, 503)], folder=tmp_path)
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text())
    assert not record["ok"]
    assert "planted" in record["spans"][0]["events"][0]["text"]
