"""A model that uses tools: ask, run what it calls, tell it the results, until it answers or a limit ends it.

Works against every server that speaks OpenAI's API; ours is one. Each thing that happens is an ``Event`` for whoever watches and a
span of a ``Trace``. A call that can't be read or fails isn't the end: the model is told why, and may do better.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.agents.toolbox import Result, Toolbox
from components.agents.toolcalls import MARKERS, Call, parse
from components.agents.traces import Trace
from components.config import Config

if TYPE_CHECKING:
    from openai import OpenAI

Kind = Literal["text", "call", "result", "malformed", "usage", "end"]
Reason = Literal["answer", "length", "steps", "tokens", "seconds"]
"""``answer``: the model had its say; ``length``: the server cut it; the others name the limit."""


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
class Event:
    """Something that happened.

    Attributes:
        step: request to the model, from 1.
        text: a piece of the answer; a tool's result; why a call is malformed.
        call: the tool's name and arguments as the model wrote them, for ``call`` and ``result``.
        ok: whether a tool's result is none of its errors.
        seconds: that a tool took, or the whole loop at its end.
        reason: why it ended: ``answer`` is the good one.
        usage: tokens of the step; ``lapidar`` holds what our server adds.
        messages: at the end, what the conversation grew by.
    """

    kind: Kind
    step: int
    text: str = ""
    call: Mapping[str, Any] | None = None
    ok: bool = True
    seconds: float = 0.0
    reason: Reason | None = None
    usage: Mapping[str, Any] | None = None
    messages: Sequence[Mapping[str, Any]] = ()


@dataclass
class _Answer:
    """One streamed answer, put together."""

    first: bool
    last: bool
    text: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish: str | None = None
    broken: Reason | None = None
    pieces: int = 0
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Budget:
    """What a loop may still use: tokens, and the clock at its end."""

    left: int
    end: float

    def spent(self, pieces: int = 0) -> Reason | None:
        """What is used up. A piece of a stream is a token at least, and how many isn't known before the end."""
        if time.monotonic() > self.end:
            return "seconds"
        return "tokens" if pieces >= self.left else None


class Loop:
    """One conversation's turn.

    Args:
        client: of the server.
        request: further fields of each request, such as ``temperature``; ``extra_body`` for what only our server knows.
        trace: gets a span for each request and call.
    """

    def __init__(
        self,
        client: OpenAI,
        model: str,
        toolbox: Toolbox,
        limits: Limits | None = None,
        request: Mapping[str, Any] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._client, self._model, self._toolbox = client, model, toolbox
        self._limits, self._request = limits or Limits(), dict(request or {})
        self._trace = trace or Trace("agent")

    def run(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
        """Answers a conversation; the last event is the ``end``.

        Raises:
            openai.OpenAIError: if the server doesn't answer; what happened before was given.
        """
        start, grown = time.monotonic(), list[dict[str, Any]]()
        reason: Reason | None = None
        budget = _Budget(self._limits.tokens, start + self._limits.seconds)
        with self._trace.span("agent", "AGENT", inputs={"messages": list(messages), "model": self._model}) as root:
            step = 0
            while (reason := reason or budget.spent()) is None:
                step += 1
                answer = _Answer(step == 1, step == self._limits.steps)
                yield from self._ask([*messages, *grown], step, answer, budget)
                grown.append(_message(answer))
                problems = _unreadable(answer.text, self._toolbox) if self._toolbox and not answer.calls else []
                if (reason := _ended(answer, bool(problems))) is not None:
                    break
                yield from self._call(answer, step, grown, budget) if answer.calls else self._complain(problems, step, grown)
            root.set(outputs={"reason": reason, "messages": grown}, ok=reason == "answer")
        yield Event("end", step, reason=reason, seconds=time.monotonic() - start, messages=tuple(grown))

    def _ask(self, messages: list[Any], step: int, answer: _Answer, budget: _Budget) -> Iterator[Event]:
        """One request; fills in ``answer``."""
        with self._trace.span("chat", "CHAT_MODEL", inputs={"messages": messages, "step": step}) as span:
            client = self._client.with_options(timeout=max(1.0, budget.end - time.monotonic()))
            with client.chat.completions.create(**self._fields(messages, answer, budget)) as stream:
                for chunk in stream:
                    yield from _take(chunk, answer, step)
                    if answer.finish is None and (broken := budget.spent(answer.pieces)) is not None:
                        answer.broken, answer.calls = broken, {}  # nobody knows whether the calls are whole
                        break
            budget.left -= int(answer.usage.get("completion_tokens") or answer.pieces)
            span.set(outputs={"text": answer.text, "calls": list(answer.calls.values()), "finish": answer.finish} | answer.usage)
        yield Event("usage", step, usage=answer.usage)

    def _fields(self, messages: list[Any], answer: _Answer, budget: _Budget) -> dict[str, Any]:
        fields = {"stream_options": {"include_usage": True}, **self._request}
        if (limit := fields.get("max_completion_tokens")) is not None:
            fields["max_completion_tokens"] = min(limit, budget.left)
        if self._toolbox:
            fields["tools"] = list(self._toolbox.definitions)
            if answer.last:
                fields["tool_choice"] = "none"
            elif not answer.first:
                fields.pop("tool_choice", None)  # who must call a tool in every step never answers
        return fields | {"model": self._model, "messages": messages, "stream": True}

    def _call(self, answer: _Answer, step: int, grown: list[dict[str, Any]], budget: _Budget) -> Iterator[Event]:
        """Runs the calls of an answer, and tells their results."""
        for place, call in sorted(answer.calls.items()):
            shown = {"name": call["name"], "arguments": call["arguments"]}
            yield Event("call", step, call=shown)
            with self._trace.span(call["name"] or "unnamed", "TOOL", inputs=shown) as span:
                result = self._result(place, call, budget.end - time.monotonic())
                span.set(outputs=result.text, ok=result.ok)
            yield Event("result", step, text=result.text, call=shown, ok=result.ok, seconds=result.seconds)
            grown.append({"role": "tool", "tool_call_id": call["id"], "content": result.text})

    def _result(self, place: int, call: Mapping[str, str], seconds: float) -> Result:
        if place >= self._limits.calls:
            return Result(f"Error: not run; {self._limits.calls} calls at once are the most", False, 0.0)
        try:
            arguments = json.loads(call["arguments"] or "{}")
        except (ValueError, RecursionError) as error:
            return Result(f"Error: the arguments aren't JSON ({str(error)[:100]})", False, 0.0)
        return self._toolbox.call(call["name"], arguments, seconds)

    def _complain(self, problems: Sequence[str], step: int, grown: list[dict[str, Any]]) -> Iterator[Event]:
        """Tells the model why nothing came of its call."""
        for problem in problems:
            yield Event("malformed", step, text=problem, ok=False)
        self._trace.event("malformed call", {"problems": list(problems)})
        said = "; ".join(problems)
        grown.append({"role": "user", "content": f"Your tool call was not run: {said}. Write it again, or answer without it."})


def _take(chunk: Any, answer: _Answer, step: int) -> Iterator[Event]:
    """Adds a chunk of a stream."""
    if chunk.usage is not None:
        answer.usage |= chunk.usage.model_dump(include={"prompt_tokens", "completion_tokens"})
    if extension := (chunk.model_extra or {}).get("lapidar"):
        answer.usage["lapidar"] = extension
    for choice in chunk.choices:
        answer.pieces += 1
        answer.finish = choice.finish_reason or answer.finish
        for call in choice.delta.tool_calls or ():
            known = answer.calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
            known["id"] = call.id or known["id"]
            if call.function is not None:
                known["name"] += call.function.name or ""
                known["arguments"] += call.function.arguments or ""
        if choice.delta.content:
            answer.text += choice.delta.content
            yield Event("text", step, text=choice.delta.content)


def _ended(answer: _Answer, unreadable: bool) -> Reason | None:
    """Why an answer is the last one; None if there are calls to run, or to complain about."""
    if answer.broken is not None:
        return answer.broken
    if answer.calls or unreadable:
        return "steps" if answer.last else None
    return "length" if answer.finish == "length" else "answer"


def _message(answer: _Answer) -> dict[str, Any]:
    """An answer as a message of the conversation."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None if answer.calls else answer.text}
    if answer.calls:
        message["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": _object(call["arguments"])}}
            for _, call in sorted(answer.calls.items())
        ]
    return message


def _object(arguments: str) -> str:
    """Arguments that a template can write: what isn't a JSON object was answered with an error, and is left out."""
    try:
        return arguments if isinstance(json.loads(arguments or "{}"), dict) else "{}"
    except (ValueError, RecursionError):
        return "{}"


def _unreadable(text: str, toolbox: Toolbox) -> list[str]:
    """Why calls that stand in an answer's text aren't calls. A whole one there was left by a server that doesn't read them."""
    for kind, marker in MARKERS.items():
        if marker in text:
            found = parse(text, kind, toolbox.definitions)
            whole: Sequence[Call] = found.calls
            return [m.reason for m in found.malformed] + [f"the server didn't read the call of {call.name}" for call in whole]
    return []
