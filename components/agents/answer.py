"""A turn with tools as one answer, for whoever shows it: each tool's use is a step, the last thing said is the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from components.agents.loop import Called, Ended, Loop, Malformed, Returned
from components.inference.answering import Step, Turn
from components.inference.reading import Event, Reply, Text, Token, Use


class ToolAnswer:
    """A loop's events, told as ``answering.Answer`` takes them: texts and tokens of the last request stand at the end.

    Args:
        loop: the turn; iterated once.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __iter__(self) -> Iterator[Event | Step | Turn]:
        use, reply, said, called = Use(), Reply(0, "", "stop"), "", ("", "")
        for event in self._loop:
            if isinstance(event, Text):
                said += event.text
                yield event
            elif isinstance(event, Token):
                yield event
            elif isinstance(event, Use):
                use = replace(event, completion_tokens=use.completion_tokens + event.completion_tokens)
            elif isinstance(event, Reply):
                reply = event
            elif isinstance(event, Called):
                called = (event.name, event.arguments)
            elif isinstance(event, Returned):
                yield Step(*called, event.text, event.ok, event.seconds, said)
                said = ""
            elif isinstance(event, Malformed):
                yield Step("", said, event.reason, False, 0.0, "")
                said = ""
            elif isinstance(event, Ended):
                finish = "stop" if event.reason == "answer" else event.reason
                yield Turn(event.messages, self._loop.tools)
                yield use
                yield Reply(0, said, finish, reply.tokens if reply.text == said else ())

    def stop(self) -> None:
        """Ends it soon, from any thread."""
        self._loop.stop()
