"""``lapidar chat``: a conversation in the terminal, over the same API as everybody else's.

A line is what you say; a line that begins with ``/`` is a command, see ``flows.chat_commands``. Ctrl-C stops an answer and keeps
the chat. Lines from a pipe are turns, too; with ``--message`` or ``--json`` all that a pipe gives belongs to the one message.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import yaml

from components.agents import dialogue, toolfiles
from components.agents.dialogue import Dialogue
from components.agents.loop import Called, Ended, Event, Limits, Loop, Malformed, Returned
from components.agents.toolbox import Policy, Toolbox
from components.agents.traces import Trace
from components.errors import InputError, LapidarError
from components.inference.client import Client
from components.inference.reading import Text, Use
from components.settings import Settings
from flows import chat_commands, model_server, output
from flows.prompt import read_line

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass
class Chat:
    """A terminal's conversation, and what its commands change.

    Attributes:
        tell: called after a turn with a trace.
        seen: events of the last turn.
        unanswered: what was said last, if that failed.
    """

    settings: Settings
    client: Client
    dialogue: Dialogue
    toolbox: Toolbox
    policy: Policy
    limits: Limits = field(default_factory=Limits)
    out: TextIO = field(default_factory=output.people)
    notes: TextIO = sys.stderr
    tell: Callable[[], None] | None = None
    seen: list[Event] = field(default_factory=list)
    unanswered: str | None = None

    def say(self, text: str) -> Ended:
        """Says something and shows the answer as it comes.

        Raises:
            LapidarError: if the server doesn't answer; what was said isn't part of the conversation then, /retry says it again.
        """
        before, self.unanswered = list(self.dialogue.messages), text
        self.dialogue.say(text)
        try:
            return self._answer()
        finally:
            if self.unanswered is not None:
                self.dialogue.messages = before

    def _answer(self) -> Ended:
        trace = None
        if self.toolbox:
            from components.mlflow_traces import folder

            trace = Trace("chat", folder(self.settings), {"model": self.dialogue.model})
        loop, self.seen = Loop(self.client, self.dialogue.ask(), self.toolbox, self.limits, trace), []
        with _stopped_by_interrupt(loop):
            for event in loop:
                self.seen.append(event)
                self._show(event)
            ended = self.seen[-1]
            assert isinstance(ended, Ended)
            self.dialogue.hear(ended.messages)
            self.unanswered = None
        if self.tell is not None and trace is not None:
            self.tell()
        self._status(ended)
        return ended

    def note(self, text: str) -> None:
        """Says something that isn't the model's."""
        print(plain(text), file=self.notes, flush=True)

    def _show(self, event: Event) -> None:
        if isinstance(event, Text):
            self.out.write(plain(event.text))
            self.out.flush()
        elif isinstance(event, Called):
            self.note(f"\n  → {event.name}({event.arguments[:300]})")
        elif isinstance(event, Returned):
            self.note(f"  {'←' if event.ok else '✗'} {_short(event.text)} ({event.seconds:.2f} s)")
        elif isinstance(event, Malformed):
            self.note(f"\n  ✗ not a call: {event.reason}")

    def _status(self, ended: Ended) -> None:
        """Context, speed and cache, under an answer."""
        self.out.write("\n")
        self.out.flush()
        use = self.use
        parts = [f"{use.prompt_tokens} + {use.completion_tokens} tokens"]
        if (context := use.context) is not None:
            parts = [f"{context.prompt} + {use.completion_tokens} of {context.limit} tokens"]
            if context.dropped_turns or context.dropped_tokens:
                parts.append(f"{context.dropped_turns} messages ({context.dropped_tokens} tokens) left out")
        if (rate := use.rate) is not None:
            parts.append(f"{rate:,.0f} tokens/s")
        if use.first_token is not None:
            parts.append(f"first after {use.first_token:.3f} s")
        if (cache := use.cache) is not None and cache.full_nbytes:
            parts.append(f"cache {cache.nbytes / cache.full_nbytes:.0%} of {cache.full_nbytes >> 10:,} KB")
        if use.reused_tokens:
            parts.append(f"{use.reused_tokens} tokens known from before")
        if ended.reason != "answer":
            parts.append(
                {"stopped": "stopped", "length": "cut at its length"}.get(ended.reason, f"ended by its limit of {ended.reason}")
            )
        self.note(f"  [{' · '.join(parts)}]")

    @property
    def use(self) -> Use:
        """What the last request took."""
        return next((event for event in reversed(self.seen) if isinstance(event, Use)), Use())


def chat(
    model: str,
    *,
    message: str | None,
    system: str | None,
    tools: list[str],
    trust: bool,
    load: Path | None,
    settings: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Chats until the end of the input.

    Raises:
        InputError: if the model, a tool, a setting or a file isn't there or doesn't fit.
        LapidarError: if the server fails in a one-shot chat.
    """
    home = Settings()
    policy = Policy(trust=trust)
    toolbox = Toolbox([tool for spec in tools for tool in found(spec)], policy)
    conversation = Dialogue(model)
    if load is not None:
        conversation.settings, conversation.messages = dialogue.load(load)
    conversation.change(**{name: value for name, value in {**settings, "system": system}.items() if value is not None})
    once = _whole(message, as_json)
    with ExitStack() as held:
        client, conversation.model = held.enter_context(model_server.serving(home, model))
        talk = Chat(home, client, conversation, toolbox, policy)
        if toolbox:
            from components.mlflow_traces import Courier

            courier = Courier(home)
            held.callback(courier.close)
            talk.tell = courier.wake
        if once is not None:
            _once(talk, once, as_json)
        else:
            _converse(talk)


def found(spec: str) -> list[toolfiles.Tool]:
    """Tools of ``NAME``, ``FILE``, ``FOLDER``, or ``NAME:KEY=VALUE,KEY=VALUE`` with settings.

    Raises:
        InputError: if there is none, or it doesn't fit.
    """
    name, _, given = spec.partition(":")
    values: dict[str, Any] = {}
    for pair in filter(None, given.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--tool {spec}: {pair!r} isn't KEY=VALUE; write e.g. retrieval:data=../data")
        values[key.strip()] = yaml.safe_load(value)
    return toolfiles.find(name, values)


def plain(text: str) -> str:
    """Text without control characters: a model can't move the cursor or ring the bell."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))


def _whole(message: str | None, as_json: bool) -> str | None:
    """The one message of a one-shot chat, or None for a conversation."""
    if message is None and not as_json:
        return None
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    whole = "\n\n".join(part for part in (message or "", piped.strip()) if part)
    if not whole:
        raise InputError("there is nothing to answer; give --message TEXT or pipe a text in")
    return whole


def _once(talk: Chat, message: str, as_json: bool) -> None:
    """Answers one message."""
    ended = talk.say(message)
    if not as_json:
        return
    use = talk.use
    answer = next((str(m["content"] or "") for m in reversed(ended.messages) if m["role"] == "assistant"), "")
    output.document(
        {
            "model": talk.dialogue.model,
            "version": use.version,
            "answer": answer,
            "reason": ended.reason,
            "messages": list(ended.messages),
            "steps": ended.steps,
            "tokens": {"prompt": use.prompt_tokens, "completion": ended.tokens},
            "context": vars(use.context) if use.context is not None else None,
            "kv": vars(use.cache) if use.cache is not None else None,
            "seconds": round(ended.seconds, 4),
            "tokens_per_second": talk.use.rate,
        }
    )


def _converse(talk: Chat) -> None:
    """Turns until the input ends."""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401 - gives ``input`` its editing and history
        talk.note(f"{talk.dialogue.model} · /help shows the commands, Ctrl-C stops an answer, Ctrl-D ends")
    while True:
        try:
            line = _line()
            if line is None or (line.startswith("/") and chat_commands.run(talk, line)):
                return
            if line and not line.startswith("/"):
                talk.say(line)
        except LapidarError as error:
            talk.note(f"lapidar: {error}")
        except KeyboardInterrupt:
            talk.note("  (Ctrl-D or /quit ends)")


def _line() -> str | None:
    """What is said next; None at the end of the input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.strip() if line else None
    try:
        return read_line("> ").strip()
    except EOFError:
        return None


@contextmanager
def _stopped_by_interrupt(loop: Loop) -> Iterator[None]:
    """Ctrl-C stops the answer and keeps what came; a second one, while a tool still runs, gives the turn up."""

    def stop(*_: Any) -> None:
        if stopping:
            raise KeyboardInterrupt
        stopping.append(True)
        threading.Thread(target=loop.stop, daemon=True).start()  # not here: the thread that is interrupted may hold its lock

    stopping: list[bool] = []
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}…"
