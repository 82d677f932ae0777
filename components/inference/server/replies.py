"""Answers as OpenAI's API writes them: whole, and in chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from components.inference.server.answering import Answering
from components.inference.server.errors import ApiError
from components.inference.server.messages import Piece, Token
from components.inference.server.protocol import ChatRequest, CompletionRequest

END = b"data: [DONE]\n\n"


@dataclass
class _Choice:
    """A choice as far as it has come."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.ids += piece.ids
        self.tokens += piece.tokens or []
        self.calls += piece.calls
        self.finish = piece.finish or self.finish


class Reply:
    """Writes one request's answer."""

    def __init__(self, request: ChatRequest | CompletionRequest, answering: Answering) -> None:
        self._request, self._answering = request, answering
        self._chat = isinstance(request, ChatRequest)
        kind = "chat.completion" if self._chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": f"{kind}.chunk" if self._chat and request.stream else kind,
            "created": int(time.time()),
            "model": request.model,
        }

    async def whole(self) -> bytes:
        """The answer in one piece."""
        choices = [_Choice() for _ in range(self._choices)]
        async for at, piece in self._answering.pieces():
            choices[at].add(piece)
        body = self._head | {"choices": [self._choice(at, choice) for at, choice in enumerate(choices)], "usage": self._usage()}
        body["lapidar"] = self._extension()
        if self._request.return_token_ids and self._chat:
            body["prompt_token_ids"] = self._answering.account.prompt_ids[0]
        return dump(body)

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events. What goes wrong on the way is an event of its own, since the status is out already."""
        begun: set[int] = set()
        offsets: dict[int, int] = {}
        left = self._choices
        try:
            async for at, piece in self._answering.pieces():
                first, own = at not in begun, {} if begun else {"lapidar": self._weights}  # who stops it knows what answered
                begun.add(at)
                choice = self._delta(at, piece, first) if self._chat else self._part(at, piece, first, offsets)
                left -= piece.finish is not None
                yield self._event({"choices": [choice]} | (own if left else {"lapidar": self._extension()}))
        except ApiError as error:
            yield line(error.body())
            return
        options = self._request.stream_options
        usage = self._event({"choices": [], "usage": self._usage()}) if options is not None and options.include_usage else b""
        yield usage + END

    @property
    def _choices(self) -> int:
        prompts = 1 if isinstance(self._request, ChatRequest) else len(self._request.prompts)
        return prompts * self._request.choices

    def _event(self, more: dict[str, Any]) -> bytes:
        return line(self._head | more)

    def _choice(self, at: int, choice: _Choice) -> dict[str, Any]:
        found: dict[str, Any] = {"index": at, "finish_reason": choice.finish, "logprobs": None}
        if self._chat:
            message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
            if choice.calls:
                message |= {"content": choice.text or None, "tool_calls": choice.calls}
            found["message"] = message
            if self._wants_logprobs:
                found["logprobs"] = {"content": [_logprob(token) for token in choice.tokens], "refusal": None}
        else:
            found["text"] = choice.text
            if self._wants_logprobs:
                found["logprobs"] = _legacy(choice.tokens, 0)
        return found | self._ids(at, choice.ids, True)

    def _delta(self, at: int, piece: Piece, first: bool) -> dict[str, Any]:
        delta: dict[str, Any] = {"role": "assistant"} if first else {}
        if piece.text or first:
            delta["content"] = piece.text
        if piece.calls:
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(piece.calls)]
        found: dict[str, Any] = {"index": at, "delta": delta, "logprobs": None, "finish_reason": piece.finish}
        if piece.tokens and self._wants_logprobs:
            found["logprobs"] = {"content": [_logprob(token) for token in piece.tokens], "refusal": None}
        return found | self._ids(at, piece.ids, first)

    def _part(self, at: int, piece: Piece, first: bool, offsets: dict[int, int]) -> dict[str, Any]:
        found: dict[str, Any] = {"index": at, "text": piece.text, "logprobs": None, "finish_reason": piece.finish}
        if piece.tokens and self._wants_logprobs:
            found["logprobs"] = _legacy(piece.tokens, offsets.get(at, 0))
            offsets[at] = offsets.get(at, 0) + sum(len(token.text) for token in piece.tokens)
        return found | self._ids(at, piece.ids, first)

    @property
    def _wants_logprobs(self) -> bool:
        wanted = self._request.logprobs
        return bool(wanted) if self._chat else wanted is not None

    def _ids(self, at: int, ids: list[int], first: bool) -> dict[str, Any]:
        if not self._request.return_token_ids:
            return {}
        found: dict[str, Any] = {"token_ids": ids}
        if first and (not self._chat or self._request.stream):
            found["prompt_token_ids"] = self._answering.account.prompt_ids[at // self._request.choices]
        return found

    def _usage(self) -> dict[str, Any]:
        account = self._answering.account
        return {
            "prompt_tokens": account.prompt,
            "completion_tokens": account.answer,
            "total_tokens": account.prompt + account.answer,
            "prompt_tokens_details": {"cached_tokens": account.reused},
        }

    @property
    def _weights(self) -> dict[str, Any]:
        return {"version": self._answering.target.version, "digest": self._answering.target.digest}

    def _extension(self) -> dict[str, Any]:
        account = self._answering.account
        return self._weights | {
            "context": account.use,
            "kv": account.kv,
            "seconds": self._answering.seconds,
            "reused_tokens": account.reused,
        }


def dump(body: dict[str, Any]) -> bytes:
    """JSON in UTF-8."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def line(body: dict[str, Any]) -> bytes:
    return b"data: " + dump(body) + b"\n\n"


def _logprob(token: Token) -> dict[str, Any]:
    top = [{"token": text, "logprob": value, "bytes": data} for text, data, value in token.top]
    return {"token": token.text, "logprob": token.logprob, "bytes": token.data, "top_logprobs": top}


def _legacy(tokens: list[Token], offset: int) -> dict[str, Any]:
    """Log-probabilities as plain completions have them."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{text: value for text, _, value in token.top} for token in tokens],
        "text_offset": offsets,
    }
