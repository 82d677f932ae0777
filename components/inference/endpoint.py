"""A client of OpenAI-compatible endpoints (vLLM, llama.cpp, Ollama, hosted APIs) over the ``openai`` package.

Requests that meet a busy or broken server (408, 409, 429, 5xx, no connection, no answer in time) are sent again by the
package, after the pause that a ``Retry-After`` asks for. What fails after that is one sentence with the URL and a remedy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, Required, TypedDict, Unpack
from urllib.parse import urlsplit

from components.errors import InputError
from components.inference.tokens import token_for

if TYPE_CHECKING:
    from openai import OpenAI

    from components.settings import Settings

Message = dict[str, str]
OnReply = Callable[[int, "list[Reply]"], None]
_ABOUT_ONE_REQUEST = (400, 413, 422)
_REMEDIES = {
    400: "the server refused the request itself: check the model's name and its context length",
    401: "set LAPIDAR_ENDPOINT_TOKEN to a token that the server accepts",
    403: "set LAPIDAR_ENDPOINT_TOKEN to a token that may use this model",
    404: "check the URL (it usually ends in /v1) and the model's name",
    413: "the conversation is too long for the server: shorten it",
    422: "the server refused the request itself: check the model's name and its context length",
    429: "it stayed busy through every retry: lower the concurrency or try later",
}


@dataclass(frozen=True)
class Reply:
    """One answer of a model.

    Attributes:
        text: what it said; empty if it said nothing.
        finish: ``length`` where a token limit cut it, else ``stop``.
        prompt_tokens: as the server counts them, for the whole request; 0 where it doesn't say.
        completion_tokens: likewise, an even share of the request's where one request had several answers.
    """

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


class Asking(TypedDict, total=False):
    """How a conversation is answered.

    Attributes:
        max_tokens: longer answers are cut, with ``finish`` "length".
        temperature: 0, the default, takes the most probable token.
        top_p: draws come from the smallest set of tokens that has this probability; 1 by default.
        n: answers to each conversation; 1 by default.
        seed: of the draws.
        stop: texts that end an answer.
    """

    max_tokens: Required[int]
    temperature: float
    top_p: float
    n: int
    seed: int | None
    stop: Sequence[str]


class Chat(Protocol):
    """What answers conversations: an ``Endpoint``, or a ``LocalModel`` in its place."""

    @property
    def name(self) -> str:
        """Stands for the model in keys and reports."""

    def chat_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        concurrency: int = 8,
        on_reply: OnReply | None = None,
        **asking: Unpack[Asking],
    ) -> list[list[Reply]]:
        """See ``Endpoint.chat_many``."""


class EndpointError(InputError):
    """An endpoint (or a local model in its place) that didn't answer as it should.

    Attributes:
        url: the endpoint, or the local model's name.
        hopeless: whether the next request would fail in the same way (the server is down, the token is wrong), as
            opposed to a fault of this one conversation (too long for the model).
        replies: after ``chat_many``, the finished replies by the conversation's position.
        failures: after ``chat_many``, what went wrong, by position.
    """

    def __init__(self, url: str, what: str, remedy: str, hopeless: bool = True) -> None:
        super().__init__(f"{'endpoint ' if is_endpoint(url) else ''}{url} {what}; {remedy}")
        self.url, self.hopeless = url, hopeless
        self.replies: dict[int, list[Reply]] = {}
        self.failures: dict[int, str] = {}


class Endpoint:
    """A model behind ``url``.

    Args:
        url: base URL; without a path, ``/v1`` is added.
        model: the model's name as the server knows it.
        token: bearer token; sent to the server and shown nowhere.
        timeout: seconds without a byte from the server before a request counts as failed.
        retries: how often a request that met a busy or broken server is sent again.

    Raises:
        InputError: if the URL isn't one, or holds a password or a query (where tokens would leak from).
    """

    def __init__(self, url: str, model: str, token: str | None = None, timeout: float = 60, retries: int = 2) -> None:
        self.url, self.model = _base_url(url), model
        self.timeout, self.retries = timeout, retries
        self._token = token

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    @property
    def name(self) -> str:
        """``URL#model``: goes into keys and reports."""
        return f"{self.url}#{self.model}"

    def chat(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> list[Reply]:
        """``n`` answers to a conversation. Servers that ignore ``n`` are asked again, with the next seed.

        Raises:
            EndpointError: naming what happened: refused, timed out, HTTP status, not JSON, no choices.
        """
        replies: list[Reply] = []
        n, seed, stop = asking.get("n", 1), asking.get("seed"), asking.get("stop")
        while len(replies) < n:
            request: dict[str, Any] = {
                "messages": list(messages),
                "model": self.model,
                "max_tokens": asking["max_tokens"],
                "temperature": asking.get("temperature", 0.0),
                "top_p": asking.get("top_p", 1.0),
            }
            request |= {"n": n - len(replies)} if n - len(replies) > 1 else {}
            request |= {"seed": seed + len(replies)} if seed is not None else {}
            request |= {"stop": list(stop)} if stop else {}
            replies += self._replies(self._post(request))
        return replies[:n]

    def chat_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        concurrency: int = 8,
        on_reply: OnReply | None = None,
        **asking: Unpack[Asking],
    ) -> list[list[Reply]]:
        """Answers to many conversations, in their order, several requests at a time.

        Args:
            on_reply: called in this thread with (position, replies) as they come in, in any order.

        Raises:
            EndpointError: if a request failed. What came in is in ``replies``. After a fault that the next request would
                meet as well no new ones are sent; after one of a single conversation the others still are.
        """
        done: dict[int, list[Reply]] = {}
        errors: dict[int, EndpointError] = {}
        with ThreadPoolExecutor(max(1, concurrency), thread_name_prefix="endpoint") as pool:
            pending: dict[Future[list[Reply]], int] = {
                pool.submit(self.chat, messages, **asking): i for i, messages in enumerate(conversations)
            }
            try:
                while pending:
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        position = pending.pop(future)
                        if future.cancelled():
                            continue
                        error = future.exception()
                        if error is None:
                            done[position] = future.result()
                            if on_reply is not None:
                                on_reply(position, done[position])
                        elif isinstance(error, EndpointError):
                            errors[position] = error
                            if error.hopeless:
                                _cancel(pending)
                        else:
                            raise error
            except BaseException:
                _cancel(pending)
                raise
        if errors:
            raise gathered(self.url, errors, done, len(conversations))
        return [done[i] for i in range(len(conversations))]

    def _post(self, request: Mapping[str, Any]) -> Any:
        """The decoded JSON that a request is answered with."""
        import openai

        try:
            unset: dict[str, Any] = {} if self._token else {"Authorization": openai.Omit()}
            raw = self._client.chat.completions.with_raw_response.create(**request, extra_headers=unset)
            return json.loads(raw.http_response.content)
        except openai.APITimeoutError as error:
            raise EndpointError(
                self.url,
                f"timed out after {self.timeout:g} s",
                f"it was asked {self._times}: raise the timeout or look at the server",
            ) from error
        except openai.APIConnectionError as error:
            reason = str(error.__cause__ or error) or type(error.__cause__).__name__
            raise EndpointError(
                self.url, f"can't be reached ({reason})", f"it was tried {self._times}: start the server or check the address"
            ) from error
        except openai.APIStatusError as error:
            raise self._refused(error.status_code, error.response.text) from error
        except ValueError as error:  # also what can't be decoded as UTF-8
            raise EndpointError(
                self.url, "answered with something that isn't JSON", "is this the API's URL? It ends in /v1"
            ) from error

    def _refused(self, status: int, body: str) -> EndpointError:
        said = " ".join(_message(body).split())[:200]
        remedy = _REMEDIES.get(status, "look at the server's log")
        what = f"answered HTTP {status}" + (f" ({said})" if said else "")
        return EndpointError(self.url, what, remedy, hopeless=status not in _ABOUT_ONE_REQUEST)

    @property
    def _times(self) -> str:
        return "once" if self.retries == 0 else f"{self.retries + 1} times"

    def _replies(self, body: Any) -> list[Reply]:
        choices = body.get("choices") if isinstance(body, dict) else None
        if not isinstance(choices, list) or not choices:
            what = "answered without any choices"
            raise EndpointError(self.url, what, "it isn't OpenAI-compatible or the model failed: look at the server's log")
        usage = body.get("usage")
        prompt, completion = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        replies = []
        for choice in choices:
            message = choice.get("message") if isinstance(choice, dict) else None
            if not isinstance(message, dict) or not isinstance(text := message.get("content") or "", str):
                raise EndpointError(self.url, "answered with a choice that holds no message", "it isn't OpenAI-compatible")
            finish: Literal["stop", "length"] = "length" if choice.get("finish_reason") == "length" else "stop"
            whole = text.encode("utf-8", "replace").decode()  # half a surrogate pair can't be written anywhere
            replies.append(Reply(whole, finish, prompt, completion // len(choices)))
        return replies

    @cached_property
    def _client(self) -> OpenAI:
        from openai import Omit, OpenAI

        # OPENAI_ORG_ID and the like in the environment belong to another service
        theirs: dict[str, Any] = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        return OpenAI(
            base_url=self.url,
            api_key=self._token or "none",
            timeout=self.timeout,
            max_retries=self.retries,
            default_headers=theirs,
        )


def connect(spec: str, settings: Settings, timeout: float = 60, retries: int = 2) -> Endpoint:
    """The endpoint of ``URL#model`` that the user named, with the token that belongs to it (see ``tokens``).

    Raises:
        InputError: if it isn't of this form.
    """
    url, _, model = spec.partition("#")
    if not model:
        raise InputError(f"{spec!r} names no model; write URL#model, e.g. http://127.0.0.1:8000/v1#qwen2.5-7b-instruct")
    return Endpoint(url, model, token_for(settings, url), timeout, retries)


def is_endpoint(spec: str) -> bool:
    """Whether a model is named by a URL.

    >>> is_endpoint("http://127.0.0.1:8000/v1#tiny"), is_endpoint("models:/tiny/1")
    (True, False)
    """
    return spec.startswith(("http://", "https://"))


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url!r} is no endpoint; write a URL such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        place = f"{parts.scheme}://{parts.hostname}"
        raise InputError(
            f"the URL of {place} holds a password or a query, which would end up in reports; use LAPIDAR_ENDPOINT_TOKEN"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def _cancel(pending: Mapping[Future[list[Reply]], int]) -> None:
    for future in pending:
        future.cancel()


def gathered(url: str, errors: Mapping[int, EndpointError], done: dict[int, list[Reply]], asked: int) -> EndpointError:
    """The first of several faults, with all that came in beside them."""
    first = errors[min(errors)]
    found = EndpointError(url, "", "", any(error.hopeless for error in errors.values()))
    found.args = (f"{first} ({len(done)} of {asked} conversations were answered)",)
    found.replies, found.failures = done, {i: str(error) for i, error in sorted(errors.items())}
    found.__cause__ = first
    return found


def _message(body: str) -> str:
    """What a server says about an error: the message of its JSON, or nothing if it is a page."""
    try:
        content = json.loads(body)
    except ValueError:
        return "" if "<" in body else body
    error = content.get("error", content) if isinstance(content, dict) else content
    return str(error.get("message", error.get("detail", "")) if isinstance(error, dict) else error)


def _count(usage: Any, name: str) -> int:
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) else 0
