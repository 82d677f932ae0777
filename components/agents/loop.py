"""A model that uses tools: ask, run what it calls, tell it the results, until it answers or a limit ends it.

Works against every server that speaks OpenAI's API; ours is one. Each thing that happens is an event for whoever watches and part
of a ``Trace``. A call that can't be read or fails isn't the end: the model is told why, and may do better::

    for event in Loop(client, Ask("support@champion", messages), Toolbox(toolfiles.find("calculator"))):
        print(event)          # Text, …, Use, Reply, Called, Returned, Text, …, Use, Reply, Ended
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from components.agents.toolbox import Result, Toolbox
from components.agents.toolcalls import MARKERS, parse
from components.agents.traces import Trace
from components.config import Config
from components.inference import reading
from components.inference.client import Ask, Client, Stream
from components.inference.reading import Reply, Text, Use

Reason = Literal["answer", "length", "steps", "tokens", "seconds", "stopped"]
"""``answer``: the model had its say; ``length``: the server cut it; ``stopped``: the reader had enough; else the limit."""

COMPLAINT = "Your tool call was not run: "
"""Begins the loop's own message to a model about a call that can't be read."""


class Limits(Config):
    """What ends a loop.

    Attributes:
        steps: requests to the model; the last one is made without tools, so that it ends in words.
        calls: tool calls of one step; those beyond are answered with an error.
        tokens: that the model may write in all.
        seconds: in all, with what the tools take.
    """

    steps: int = Field(8, ge=1, le=100)
    calls: int = Field(4, ge=1, le=32)
    tokens: int = Field(4096, ge=1)
    seconds: float = Field(120.0, gt=0)


@dataclass(frozen=True)
class Called:
    """The model calls a tool, with arguments as it wrote them; it hasn't been run yet."""

    step: int
    name: str
    arguments: str


@dataclass(frozen=True)
class Returned:
    """What a tool said. ``ok`` is False for errors, of its own and of the call."""

    step: int
    name: str
    text: str
    ok: bool
    seconds: float


@dataclass(frozen=True)
class Malformed:
    """The model wrote something that looks like a call and is none; the model is told why."""

    step: int
    reason: str


@dataclass(frozen=True)
class Ended:
    """The last event.

    Attributes:
        messages: what the conversation grew by: answers with their calls, and results.
    """

    reason: Reason
    steps: int
    tokens: int
    seconds: float
    messages: tuple[Mapping[str, Any], ...]


Event = reading.Event | Called | Returned | Malformed | Ended


class Loop:
    """One turn of a conversation. Iterate in one thread; ``stop`` may come from another.

    Args:
        ask: the conversation and how it is answered; its tools are the toolbox's.
        trace: gets a span for each request and call.

    Raises:
        ServerError: while iterating, if the server doesn't answer; what happened before was given.
    """

    def __init__(
        self, client: Client, ask: Ask, toolbox: Toolbox | None = None, limits: Limits | None = None, trace: Trace | None = None
    ) -> None:
        self._client, self._ask, self._toolbox = client, ask, toolbox or Toolbox()
        self._limits, self._trace = limits or Limits(), trace or Trace("agent")
        self._stream: Stream | None = None
        self._stopped = False
        self._end, self._left = 0.0, self._limits.tokens

    def __iter__(self) -> Iterator[Event]:
        start, step, grown = time.monotonic(), 0, list[dict[str, Any]]()
        self._end, self._left = start + self._limits.seconds, self._limits.tokens
        inputs = {"messages": list(self._ask.messages), "model": self._ask.model}
        with self._trace.span("agent", "AGENT", inputs) as root:
            while (reason := self._spent()) is None:
                step += 1
                reply = yield from self._answer(grown, step)
                grown.append(_message(reply))
                problems = [] if reply.calls else self._unreadable(reply.text)
                if (reason := self._spent() or self._ended(reply, step, bool(problems))) is not None:
                    break
                yield from self._call(reply, step, grown) if reply.calls else self._complain(problems, step, grown)
            root.set({"reason": reason, "messages": grown}, ok=reason == "answer")
        yield Ended(reason, step, self._limits.tokens - self._left, time.monotonic() - start, tuple(grown))

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """What the model may call, as OpenAI's API describes it."""
        return tuple(self._toolbox.definitions)

    def stop(self) -> None:
        """Ends it soon: the answer that is on its way is cut, a tool that runs is waited for."""
        self._stopped = True
        if (stream := self._stream) is not None:
            stream.stop()

    def _answer(self, grown: Sequence[Mapping[str, Any]], step: int) -> Generator[Event, None, Reply]:
        """One request; returns the reply."""
        ask, pieces = self._request(grown, step), 0
        inputs = {"messages": list(ask.messages), "step": step}
        with self._trace.span("chat", "CHAT_MODEL", inputs) as span, self._client.stream(ask) as stream:
            self._stream, use, reply = stream, Use(), Reply(0, "", "stopped")
            for event in stream:
                if isinstance(event, Text):
                    pieces += 1
                    if self._spent(pieces) is not None:
                        stream.stop()
                elif isinstance(event, Use):
                    use = event
                elif isinstance(event, Reply):
                    reply = event
                yield event
            self._left -= max(use.completion_tokens, pieces)
            told = {"text": reply.text, "calls": [vars(call) for call in reply.calls], "finish": reply.finish}
            span.set(told | {"tokens": use.completion_tokens})
        return reply if reply.finish != "stopped" else replace(reply, calls=())  # nobody knows whether these are whole

    def _request(self, grown: Sequence[Mapping[str, Any]], step: int) -> Ask:
        most = self._ask.max_tokens
        ask = replace(self._ask, messages=(*self._ask.messages, *grown), max_tokens=most and min(most, self._left), n=1)
        if not self._toolbox:
            return ask
        # Whoever must call a tool in every step never answers.
        choice = "none" if step == self._limits.steps else self._ask.tool_choice if step == 1 else None
        return replace(ask, tools=tuple(self._toolbox.definitions), tool_choice=choice)

    def _spent(self, pieces: int = 0) -> Reason | None:
        """What is used up. A piece of text is a token at least; how many they are is known at the end."""
        if self._stopped:
            return "stopped"
        if time.monotonic() > self._end:
            return "seconds"
        return "tokens" if pieces > self._left or self._left <= 0 else None

    def _ended(self, reply: Reply, step: int, unreadable: bool) -> Reason | None:
        """Why a reply is the last one; None if there are calls to run, or to complain about."""
        if reply.calls or unreadable:
            return "steps" if step == self._limits.steps else None
        return "length" if reply.finish == "length" else "answer"

    def _call(self, reply: Reply, step: int, grown: list[dict[str, Any]]) -> Iterator[Event]:
        """Runs the calls of a reply, and tells their results."""
        for place, call in enumerate(reply.calls):
            yield Called(step, call.name, call.arguments)
            with self._trace.span(call.name or "unnamed", "TOOL", {"arguments": call.arguments}) as span:
                result = self._result(place, call)
                span.set(result.text, result.ok)
            yield Returned(step, call.name, result.text, result.ok, result.seconds)
            grown.append({"role": "tool", "tool_call_id": call.id, "content": result.text})

    def _result(self, place: int, call: reading.Call) -> Result:
        if (spent := self._spent()) in ("stopped", "seconds"):
            return Result(f"Error: not run; {'somebody stopped it' if spent == 'stopped' else 'the time is over'}", False, 0.0)
        if place >= self._limits.calls:
            return Result(f"Error: not run; {self._limits.calls} calls at once are the most", False, 0.0)
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError) as error:
            return Result(f"Error: the arguments aren't JSON ({str(error)[:100]})", False, 0.0)
        return self._toolbox.call(call.name, arguments, self._end - time.monotonic())

    def _complain(self, problems: Sequence[str], step: int, grown: list[dict[str, Any]]) -> Iterator[Event]:
        """Tells the model why nothing came of its call."""
        for problem in problems:
            yield Malformed(step, problem)
        self._trace.event("malformed call", {"problems": list(problems)})
        said = f"{COMPLAINT}{'; '.join(problems)}. Write it again, or answer without it."
        grown.append({"role": "user", "content": said})

    def _unreadable(self, text: str) -> list[str]:
        """Why calls that stand in a reply's text aren't calls. A whole one there was left by a server that doesn't read them."""
        for kind, marker in MARKERS.items() if self._toolbox else ():
            if marker in text:
                found = parse(text, kind, self._toolbox.definitions)
                left = [f"the server didn't read the call of {call.name}" for call in found.calls]
                return [malformed.reason for malformed in found.malformed] + left
        return []


def _message(reply: Reply) -> dict[str, Any]:
    """A reply as a message of the conversation."""
    if not reply.calls:
        return {"role": "assistant", "content": reply.text}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _object(call.arguments)}}
        for call in reply.calls
    ]
    return {"role": "assistant", "content": reply.text or None, "tool_calls": calls}


def _object(arguments: str) -> str:
    """Arguments that a template can write: what isn't a JSON object was answered with an error, and is left out."""
    try:
        return arguments if isinstance(json.loads(arguments or "{}"), dict) else "{}"
    except (ValueError, RecursionError):
        return "{}"
