"""An answer that goes on by itself: it runs in a thread, whoever asked for it looks in whenever they like.

A page that is closed or reloaded leaves it alone; what it ends with is handed to ``on_done`` in its own thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from components.errors import LapidarError
from components.inference.reading import Event, Reply, Text, Token, Use, rate

logger = logging.getLogger(__name__)
KEPT = 200
"""Finished answers that a process remembers."""


@dataclass(frozen=True)
class Step:
    """A tool that the model used on the way to its answer.

    Attributes:
        name: of the tool; empty where what the model wrote was no call.
        arguments: as it wrote them.
        result: what came back, or why nothing did.
        said: what it said before.
    """

    name: str
    arguments: str
    result: str
    ok: bool
    seconds: float
    said: str = ""


@dataclass(frozen=True)
class Turn:
    """All that a model said and was told on the way to its answer, as messages, and the tools that it was offered.

    Attributes:
        messages: answers with their ``tool_calls``, results of role ``tool``; the answer itself last, if there is one.
        tools: as OpenAI's API describes them.
    """

    messages: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()


class Source(Protocol):
    """What an answer comes from: a ``client.Stream``, or a loop of several with tools between them."""

    def __iter__(self) -> Iterator[Event | Step | Turn]:
        """Events in their order; what was said before a step isn't part of the answer."""

    def stop(self) -> None:
        """Ends it soon, from any thread."""


@dataclass(frozen=True)
class Progress:
    """An answer as it stands.

    Attributes:
        texts: of each of its samples.
        tokens: of each of its samples, where log-probabilities were asked for.
        replies: finished samples; empty while it runs.
        steps: tools that were used so far.
        turn: the same as messages; empty while it runs, and where there are no tools.
        use: what it took; None while it runs.
        error: one sentence, if it failed; what came until then is in ``texts``.
        seconds: since it was asked for.
        first: seconds until the first text; None before.
        pieces: pieces of text so far, about one a token.
        done: whether nothing more will come.
    """

    texts: tuple[str, ...] = ("",)
    tokens: tuple[tuple[Token, ...], ...] = ((),)
    replies: tuple[Reply, ...] = ()
    steps: tuple[Step, ...] = ()
    turn: Turn = Turn()
    use: Use | None = None
    error: LapidarError | None = None
    seconds: float = 0.0
    first: float | None = None
    pieces: int = 0
    done: bool = False

    @property
    def rate(self) -> float | None:
        """Tokens a second, of all samples, after the first token; None if there is nothing to measure.

        By the server's clock where it says so: what comes late comes at once, which looks fast here.
        """
        if self.use is not None and self.use.total is not None:
            return self.use.rate
        count = self.use.completion_tokens if self.use is not None and self.use.completion_tokens else self.pieces
        return rate(count, self.first, self.seconds)

    @property
    def finish(self) -> str:
        """Why the first sample ended: the server's word, ``stopped``, ``error``, or empty while it runs."""
        if self.error is not None:
            return "error"
        return self.replies[0].finish if self.replies else ("stop" if self.done else "")


class Answer:
    """One answer in a thread of its own.

    Args:
        source: where its events come from.
        on_done: called once with the last state, before ``done`` is seen by others; what it raises becomes the error.
        samples: how many texts there will be.
    """

    def __init__(self, source: Source, on_done: Callable[[Progress], None] | None = None, samples: int = 1) -> None:
        self._source, self._on_done = source, on_done
        self._now = Progress(("",) * samples, ((),) * samples)
        self._texts = [list[str]() for _ in range(samples)]
        self._tokens = [list[Token]() for _ in range(samples)]
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="answer", daemon=True)
        self._thread.start()

    def look(self) -> Progress:
        """How it stands now."""
        with self._lock:
            if self._now.done:
                return self._now
            texts, tokens = tuple(map("".join, self._texts)), tuple(map(tuple, self._tokens))
            return replace(self._now, texts=texts, tokens=tokens, seconds=time.monotonic() - self._began)

    def stop(self) -> None:
        """Ends it; what came until now is kept."""
        self._source.stop()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits for its end; whether it came."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        error: LapidarError | None = None
        try:
            for event in self._source:
                self._take(event)
        except LapidarError as found:
            error = found
        except Exception as found:  # nobody else would hear of it
            logger.exception("an answer failed")
            error = LapidarError(f"the answer failed ({type(found).__name__}: {found}); see the dashboard's log")
        last = replace(self.look(), error=error, done=True)
        try:
            if self._on_done is not None:
                self._on_done(last)
        except Exception as found:
            logger.exception("an answer couldn't be kept")
            last = replace(last, error=LapidarError(f"the answer couldn't be saved ({found}); copy it before you leave this page"))
        with self._lock:
            self._now = last
        self._ended.set()

    def _take(self, event: Event | Step | Turn) -> None:
        with self._lock:
            if isinstance(event, Step):
                self._texts[0].clear()
                self._tokens[0].clear()
                self._now = replace(self._now, steps=(*self._now.steps, event))
            elif isinstance(event, Turn):
                self._now = replace(self._now, turn=event)
            elif isinstance(event, Text):
                first = self._now.first if self._now.first is not None else time.monotonic() - self._began
                self._texts[event.index].append(event.text)
                self._now = replace(self._now, first=first, pieces=self._now.pieces + 1)
            elif isinstance(event, Token):
                self._tokens[event.index].append(event)
            elif isinstance(event, Use):
                self._now = replace(self._now, use=event)
            else:
                self._now = replace(self._now, replies=(*self._now.replies, event))


@dataclass
class Answers:
    """The answers of one process by a name: a page that comes back finds its own again, and nobody else's."""

    _found: dict[str, Answer] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, make: Callable[[], Answer]) -> Answer:
        """The running answer of this name, else a new one: a request that comes twice is answered once."""
        with self._lock:
            found = self._found.get(name)
            if found is None or found.look().done:
                found = self._found[name] = make()
                self._forget()
            return found

    def get(self, name: str) -> Answer | None:
        """The answer of this name, running or finished."""
        with self._lock:
            return self._found.get(name)

    def drop(self, name: str) -> None:
        """Forgets a finished answer."""
        with self._lock:
            self._found.pop(name, None)

    def _forget(self) -> None:
        done = [name for name, answer in self._found.items() if answer.look().done]
        for name in done[: max(0, len(done) - KEPT)]:
            del self._found[name]
