"""A client of the model server for chats: streams an answer as typed events and frees its slot when it is stopped.

Beside OpenAI's fields it speaks vLLM's (``top_k``, ``min_p``, ``repetition_penalty``) and Lapidar's own object: context policy
and KV cache in the request, and in the answer what they led to. Other OpenAI-compatible servers answer without that object::

    client = connect(settings)
    with client.stream(Ask("support@champion", ({"role": "user", "content": "Hello"},), logprobs=3)) as stream:
        for event in stream:          # Text, Token, … , Use, Reply
            print(event)
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from components import local_services
from components.errors import InputError, LapidarError
from components.inference.reading import Event, ModelCard, Reader, cards
from components.inference.tokens import server_token

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

    from components.settings import Settings

Message = Mapping[str, Any]
START = "start it with `lapidar up`"
_CONNECT_SECONDS = 5.0
_REMEDIES = {
    401: "set LAPIDAR_SERVER_TOKEN to what this home's server asks for, LAPIDAR_ENDPOINT_TOKEN to what another endpoint does",
    403: "set LAPIDAR_SERVER_TOKEN or LAPIDAR_ENDPOINT_TOKEN to a token that may use this model",
    404: "choose one of the models that it lists",
    413: "shorten the conversation",
    429: "too many answers are waiting: try again in {after} s",
    503: "it has no room for this model now: try again in {after} s, or stop other answers",
}


class ServerError(LapidarError):
    """The model server didn't answer as it should.

    Attributes:
        what: what happened, without naming the model: for blind comparisons.
        remedy: what to do about it.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy = what, remedy


class ServerDown(ServerError):
    """Nothing listens there, or it ended in the middle of an answer."""


@dataclass(frozen=True)
class Ask:
    """A conversation and how it is to be answered; what is None is left to the server.

    Attributes:
        model: name as the server lists it, e.g. ``support@champion`` or ``support/3``.
        n: answers, streamed beside each other.
        logprobs: so many alternatives a token; None for text alone.
        context: policy (``error``, ``drop_oldest``, ``window``, ``compress``) when the conversation outgrows the limit.
        limit: tokens for prompt and answer together; None for the model's own.
        kv: settings of a KV cache method, e.g. ``{"method": "expected_attention", "ratio": 0.5}``.
        max_tokens: of each answer; None for what the server gives.
        tools: functions that the model may call, as OpenAI describes them; ``tool_choice`` says whether it must, or which.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int | None = 256
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    context: str = "error"
    limit: int | None = None
    kv: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: Mapping[str, Any] | None = None

    def request(self) -> dict[str, Any]:
        """Arguments of the ``openai`` package's ``chat.completions.create``; settings that change nothing aren't sent."""
        wanted: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in self.messages],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "n": self.n,
        }
        optional: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "stop": list(self.stop),
            "tools": list(self.tools),
        }
        optional |= {"tool_choice": self.tool_choice, "response_format": self.response_format}
        wanted |= {name: value for name, value in optional.items() if value is not None and value != []}
        if self.logprobs is not None:
            wanted |= {"logprobs": True, "top_logprobs": self.logprobs}
        plain = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        extra: dict[str, Any] = {name: getattr(self, name) for name, off in plain.items() if getattr(self, name) != off}
        ours: dict[str, Any] = {}
        if self.context != "error" or self.limit is not None:
            ours["context"] = {"policy": self.context, "limit": self.limit}
        if self.kv is not None:
            ours["kv"] = dict(self.kv)
        return wanted | {"extra_body": extra | ({"lapidar": ours} if ours else {})}


@dataclass
class Stream:
    """One answer on its way. Iterate in one thread; ``stop`` may come from another, at any moment.

    Raises:
        ServerDown: while iterating, if the server can't be reached or ends in the middle.
        ServerError: if it refuses, or answers with something else.
    """

    client: Client
    ask: Ask
    stopped: bool = False
    _socket: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Event]:
        import openai

        reader = Reader()
        try:
            # A connection of its own: closing it tells the server, even before the first byte has come.
            with self.client._openai(self._remember) as api:
                request = {**self.ask.request(), "stream": True, "stream_options": {"include_usage": True}}
                with api.chat.completions.create(**request) as chunks:
                    for chunk in chunks:
                        yield from reader.read(chunk)
                        if self.stopped:
                            break
        except openai.APIError as error:
            if not self.stopped:
                raise self.client._told(error, reader.begun) from error
        except ValueError as error:  # a line that isn't JSON
            raise ServerError(
                f"{self.client.url} sent something that isn't JSON", "is this the API's URL? It ends in /v1"
            ) from error
        finally:
            self._forget()
        if not (self.stopped or reader.finished):
            raise ServerDown(f"the model server at {self.client.url} ended in the middle of the answer", f"if it is down, {START}")
        yield from reader.end(self.stopped)

    def stop(self) -> None:
        """Closes the connection, which frees the answer's slot on the server; the reply is what came until then."""
        with self._lock:
            self.stopped = True
            if self._socket is not None:
                with suppress(OSError):  # it is closed already
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _remember(self, connection: socket.socket) -> None:
        with self._lock:
            self._socket = connection
        if self.stopped:
            self.stop()

    def _forget(self) -> None:
        """A socket that was given back may be another's by now."""
        with self._lock:
            self._socket = None


class Client:
    """The model server behind ``url`` (ends in ``/v1``).

    Args:
        token: bearer token; sent to the server and shown nowhere.
        timeout: seconds without a byte from the server before it counts as stuck.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 300.0) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise InputError(f"{url!r} is no model server; write a URL such as http://127.0.0.1:8765/v1")
        self.url, self.timeout, self._token = url.rstrip("/"), timeout, token

    def models(self) -> list[ModelCard]:
        """What the server offers, in its order.

        Raises:
            ServerError: if it doesn't answer as it should.
        """
        import openai

        try:
            with self._openai() as api:
                return cards(json.loads(api.models.with_raw_response.list().http_response.content))
        except openai.APIError as error:
            raise self._told(error, begun=False) from error
        except ValueError as error:
            raise ServerError(f"{self.url} sent something that isn't JSON", "is this the API's URL? It ends in /v1") from error

    def stream(self, ask: Ask) -> Stream:
        """An answer, asked for when iteration begins."""
        return Stream(self, ask)

    def _openai(self, connected: Any = None) -> OpenAI:
        import httpx2
        import openai

        def watch(request: httpx2.Request) -> None:
            request.extensions = {**request.extensions, "trace": _on_connect(connected)}

        hooks = {"request": [watch]} if connected is not None else {}
        theirs: dict[str, Any] = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project"), openai.Omit())
        timeout = httpx2.Timeout(self.timeout, connect=_CONNECT_SECONDS)
        http = httpx2.Client(event_hooks=hooks, timeout=timeout, trust_env=False)
        key = self._token or "none"
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, default_headers=theirs, http_client=http)

    def _told(self, error: Exception, begun: bool) -> ServerError:
        """One sentence with a remedy for an error of the ``openai`` package."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return ServerError(
                f"the model server at {self.url} sent nothing for {self.timeout:g} s", "look at its log, or ask for less"
            )
        if isinstance(error, openai.APIConnectionError):
            if begun:
                return ServerDown(f"the model server at {self.url} ended in the middle of the answer", f"if it is down, {START}")
            return ServerDown(f"the model server at {self.url} can't be reached", START)
        if isinstance(error, openai.APIStatusError):
            after = error.response.headers.get("retry-after", "a few")
            remedy = _REMEDIES.get(
                error.status_code, "change the settings or the question" if error.status_code < 500 else "look at its log"
            )
            return ServerError(f"the model server refused ({_said(error)})", remedy.format(after=after))
        return ServerError(f"the model server gave up ({_said(error)})", "try again, or look at its log")


def connect(settings: Settings) -> Client:
    """The client of this home's model server.

    Raises:
        ServerDown: if none runs.
    """
    if (address := local_services.address(settings, "models")) is None:
        raise ServerDown(f"no model server runs for {settings.root}", START)
    return Client(f"{address.rstrip('/')}/v1", server_token(settings))


def _on_connect(connected: Any) -> Any:
    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            connected(info["return_value"].get_extra_info("socket"))

    return trace


def _said(error: Any) -> str:
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    text = str(message or getattr(error, "message", "") or error)
    return " ".join(text.split())[:300] if "<html" not in text.lower() else f"HTTP {getattr(error, 'status_code', '')}"
