"""What a model server's chunks say, as typed events: text and tokens as they come, then the request's use, then the replies.

A reply is put together here from what came, so that one that was cut short holds exactly what was shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from components.errors import LapidarError
from components.inference.context import Use as Context


def rate(tokens: int, first: float | None, last: float | None) -> float | None:
    """Tokens a second after the first of so many, which came at ``first``; None if there is nothing to measure.

    Args:
        first, last: seconds since the same moment.
    """
    return (tokens - 1) / (last - first) if first is not None and last is not None and tokens > 1 and last > first else None


@dataclass(frozen=True)
class Alternative:
    """A token that could have stood in a place, with its log-probability before temperature."""

    text: str
    logprob: float


@dataclass(frozen=True)
class Text:
    """A piece of the answer ``index``."""

    index: int
    text: str


@dataclass(frozen=True)
class Token:
    """A token of the answer ``index``, with what else could have stood there, most probable first."""

    index: int
    text: str
    logprob: float
    alternatives: tuple[Alternative, ...] = ()

    @property
    def probability(self) -> float:
        """Between 0 and 1."""
        return math.exp(min(0.0, self.logprob))


@dataclass(frozen=True)
class Cache:
    """How the KV cache stood at the end: positions in all and kept, bytes taken and those of the full cache."""

    length: int
    cached: int
    nbytes: int = 0
    full_nbytes: int = 0


@dataclass(frozen=True)
class Use:
    """What a request took; what a server doesn't say is None or 0.

    Attributes:
        prompt_tokens: as the server counts them.
        completion_tokens: of all answers together.
        version: ``models:/name/version`` that answered.
        digest: sha256 of its weights.
        context: how the conversation fills the model's limit.
        cache: the KV cache, where a method was asked for.
        queued: seconds that it waited for a slot.
        first_token: seconds until the first token.
        total: seconds in all.
        reused_tokens: prompt tokens that were there from earlier turns.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    version: str | None = None
    digest: str | None = None
    context: Context | None = None
    cache: Cache | None = None
    queued: float | None = None
    first_token: float | None = None
    total: float | None = None
    reused_tokens: int = 0

    @property
    def rate(self) -> float | None:
        """Tokens a second, of all answers, after the first token; None where the server doesn't say."""
        return rate(self.completion_tokens, self.first_token, self.total)


@dataclass(frozen=True)
class Call:
    """A function that the model wants called, with its arguments as JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """One whole answer.

    Attributes:
        finish: ``stop``, ``length``, ``tool_calls`` or what else the server says; ``stopped`` where the reader had enough.
    """

    index: int
    text: str
    finish: str
    tokens: tuple[Token, ...] = ()
    calls: tuple[Call, ...] = ()


Event = Text | Token | Use | Reply


@dataclass(frozen=True)
class ModelCard:
    """A model that the server offers.

    Attributes:
        id: name to ask for.
        version: the registered version behind it, where the server says so.
        details: what else the server says about it.
    """

    id: str
    version: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass
class _Draft:
    text: str = ""
    finish: str | None = None
    tokens: list[Token] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)


class Reader:
    """Reads the chunks of one request in their order."""

    def __init__(self) -> None:
        self._drafts: dict[int, _Draft] = {}
        self._use = Use()
        self.begun = False

    @property
    def finished(self) -> bool:
        """Whether every answer has said why it ended."""
        return bool(self._drafts) and all(draft.finish is not None for draft in self._drafts.values())

    def read(self, chunk: Any) -> Iterator[Event]:
        """Events of one chunk, an object of the ``openai`` package."""
        self.begun = True
        self._note(chunk)
        for choice in chunk.choices or ():
            draft = self._drafts.setdefault(choice.index, _Draft())
            if choice.delta is not None and choice.delta.content:
                draft.text += choice.delta.content
                yield Text(choice.index, choice.delta.content)
            for call in (choice.delta.tool_calls or ()) if choice.delta is not None else ():
                _add_call(draft, call)
            for entry in (choice.logprobs.content or ()) if choice.logprobs is not None else ():
                token = _token(choice.index, entry)
                draft.tokens.append(token)
                yield token
            if choice.finish_reason is not None:
                draft.finish = choice.finish_reason

    def end(self, stopped: bool) -> Iterator[Event]:
        """What the request took, then every reply."""
        yield self._use
        for index, draft in sorted(self._drafts.items()):
            finish = draft.finish or ("stopped" if stopped else "stop")
            calls = tuple(Call(call["id"], call["name"], call["arguments"]) for _, call in sorted(draft.calls.items()))
            yield Reply(index, draft.text, finish, tuple(draft.tokens), calls)

    def _note(self, chunk: Any) -> None:
        """Keeps what the chunk says about the whole request."""
        if chunk.usage is not None:
            counts = {"prompt_tokens": chunk.usage.prompt_tokens, "completion_tokens": chunk.usage.completion_tokens}
            self._use = Use(**{**_shallow(self._use), **counts})
        ours = (chunk.model_extra or {}).get("lapidar")
        if isinstance(ours, Mapping):
            self._use = Use(**{**_shallow(self._use), **_ours(ours)})


def cards(body: Any) -> list[ModelCard]:
    """The models of a ``/v1/models`` answer.

    Raises:
        LapidarError: if it isn't one.
    """
    listed = body.get("data") if isinstance(body, dict) else None
    if not isinstance(listed, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in listed):
        raise LapidarError("the server's list of models has no names; is it an OpenAI-compatible server?")
    found = []
    for row in listed:
        ours = row.get("lapidar")
        details = dict(ours) if isinstance(ours, Mapping) else {}
        found.append(ModelCard(row["id"], details.get("version"), details))
    return found


def _ours(said: Mapping[str, Any]) -> dict[str, Any]:
    seconds = said.get("seconds") or {}
    return {
        "version": said.get("version"),
        "digest": said.get("digest"),
        "context": _known(Context, said.get("context"), ("limit", "asked", "prompt", "answer")),
        "cache": _known(Cache, said.get("kv"), ("length", "cached")),
        "queued": seconds.get("queued"),
        "first_token": seconds.get("first_token"),
        "total": seconds.get("total"),
        "reused_tokens": said.get("reused_tokens") or 0,
    }


def _known(kind: Any, said: Any, needed: tuple[str, ...]) -> Any:
    """An instance from the fields that it knows: a newer server may say more."""
    if not isinstance(said, Mapping) or any(said.get(name) is None for name in needed):
        return None
    return kind(**{f.name: said[f.name] for f in fields(kind) if said.get(f.name) is not None})


def _shallow(use: Use) -> dict[str, Any]:
    return {f.name: getattr(use, f.name) for f in fields(use)}


def _token(index: int, entry: Any) -> Token:
    others = tuple(Alternative(other.token, other.logprob) for other in entry.top_logprobs or ())
    return Token(index, entry.token, entry.logprob, others)


def _add_call(draft: _Draft, part: Any) -> None:
    call = draft.calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
    call["id"] = part.id or call["id"]
    if part.function is not None:
        call["name"] += part.function.name or ""
        call["arguments"] += part.function.arguments or ""
