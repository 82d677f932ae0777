from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, StreamingResponse

from components.errors import InputError
from components.inference.client import Ask, Client, ServerDown, ServerError, connect
from components.inference.context import Use as Context
from components.inference.reading import Alternative, Cache, Reply, Text, Token, Use, cards
from components.settings import Settings

ASK = Ask("tiny", ({"role": "user", "content": "2 + 2?"},))
Serve = Callable[..., Any]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish} | more.pop("choice", {})
    return {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny", "choices": [choice], **more}


def events(*chunks: dict[str, Any] | str) -> StreamingResponse:
    lines = [piece if isinstance(piece, str) else f"data: {json.dumps(piece)}\n\n" for piece in chunks]
    return StreamingResponse(iter([*lines]), media_type="text/event-stream")


DONE = "data: [DONE]\n\n"


def test_an_answer_comes_as_text_tokens_use_and_reply(chat_server: Serve) -> None:
    logprobs = {"content": [{"token": "4", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "5", "logprob": -2.0}]}]}
    last = {
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "choices": [],
        "lapidar": {
            "version": "models:/tiny/3",
            "digest": "ab",
            "context": {"limit": 64, "asked": 9, "prompt": 7, "answer": 5, "dropped_turns": 1, "dropped_tokens": 2, "ratio": 0.0},
            "kv": {"method": "window", "length": 9, "cached": 5, "nbytes": 100, "full_nbytes": 180, "unheard_of": 1},
            "seconds": {"queued": 0.01, "first_token": 0.2, "total": 0.5},
            "reused_tokens": 4,
        },
    }
    said = events(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "4"}, choice={"logprobs": logprobs}),
        chunk({"content": "."}, "stop"),
        chunk({}) | last,
        DONE,
    )
    found = list(Client(chat_server(lambda _: said).url).stream(ASK))
    token = Token(0, "4", -0.1, (Alternative("5", -2.0),))
    context = Context(64, 9, 7, 5, 1, 2, 0.0)
    use = Use(3, 2, "models:/tiny/3", "ab", context, Cache(9, 5, 100, 180), 0.01, 0.2, 0.5, 4)
    assert found == [Text(0, "4"), token, Text(0, "."), use, Reply(0, "4.", "stop", (token,))]
    assert token.probability == pytest.approx(0.9048, abs=1e-4)


def test_a_server_that_is_not_ours_needs_no_extension(chat_server: Serve) -> None:
    server = chat_server(lambda _: events(chunk({"content": "4"}), chunk({}, "length"), DONE))
    assert list(Client(server.url).stream(ASK)) == [Text(0, "4"), Use(), Reply(0, "4", "length")]


def test_what_is_asked_for_is_sent_and_nothing_else(chat_server: Serve) -> None:
    server = chat_server(lambda _: events(chunk({"content": "4"}, "stop"), DONE))
    plain = Ask("tiny", ASK.messages, max_tokens=9, temperature=0.0)
    full = Ask("tiny", ASK.messages, 9, 0.5, 0.9, 40, 0.1, 1.1, 7, ("\n",), 2, 3, "window", 64, {"method": "window", "ratio": 0.5})
    for ask in (plain, full):
        list(Client(server.url, token="sesame").stream(ask))
    common = {"model": "tiny", "messages": list(ASK.messages), "max_tokens": 9, "stream": True}
    common |= {"stream_options": {"include_usage": True}}
    assert server.requests[0] == common | {"temperature": 0.0, "top_p": 1.0, "n": 1}
    assert server.requests[1] == common | {
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 2,
        "seed": 7,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 3,
        "top_k": 40,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "lapidar": {"context": {"policy": "window", "limit": 64}, "kv": {"method": "window", "ratio": 0.5}},
    }
    assert server.headers[0]["authorization"] == "Bearer sesame"


def test_several_answers_are_kept_apart(chat_server: Serve) -> None:
    said = [chunk({"content": "a"}, index=0), chunk({"content": "x"}, index=1), chunk({"content": "y"}, "stop", 1)]
    server = chat_server(lambda _: events(*said, chunk({"content": "b"}, "length", 0), DONE))
    found = [event for event in Client(server.url).stream(ASK) if isinstance(event, Reply)]
    assert found == [Reply(0, "ab", "length"), Reply(1, "xy", "stop")]


def test_tool_calls_are_put_together(chat_server: Serve) -> None:
    parts = [("c1", "calculator", '{"a"'), (None, None, ": 1}")]
    said = [
        chunk({"tool_calls": [{"index": 0, "id": i, "type": "function", "function": {"name": n, "arguments": a}}]})
        for i, n, a in parts
    ]
    reply = list(Client(chat_server(lambda _: events(*said, chunk({}, "tool_calls"), DONE)).url).stream(ASK))[-1]
    assert isinstance(reply, Reply)
    assert [(call.id, call.name, call.arguments) for call in reply.calls] == [("c1", "calculator", '{"a": 1}')]


class Slow:
    """Streams for a minute unless the client leaves before, and says when it has left."""

    def __init__(self, first: float = 0.0) -> None:
        self.first, self.left, self.asked = first, threading.Event(), threading.Event()

    def __call__(self, body: dict[str, Any]) -> StreamingResponse:
        self.asked.set()

        async def speak() -> Any:
            import asyncio

            try:
                await asyncio.sleep(self.first)
                for number in range(10_000):
                    yield f"data: {json.dumps(chunk({'content': f'{number} '}))}\n\n"
                    await asyncio.sleep(0.005)
            finally:
                self.left.set()

        return StreamingResponse(speak(), media_type="text/event-stream")


def test_stopping_keeps_what_was_said_and_frees_the_server(chat_server: Serve) -> None:
    slow = Slow()
    stream = Client(chat_server(slow).url).stream(ASK)
    found = []
    for event in stream:
        found.append(event)
        if len(found) == 3:
            stream.stop()
    assert found[-1] == Reply(0, "0 1 2 ", "stopped")
    assert slow.left.wait(10)


def test_stopping_works_before_the_first_token(chat_server: Serve) -> None:
    slow = Slow(first=30)
    stream = Client(chat_server(slow).url).stream(ASK)
    found: list[Any] = []
    reading = threading.Thread(target=lambda: found.extend(stream))
    reading.start()
    assert slow.asked.wait(20)
    began = time.monotonic()
    stream.stop()
    reading.join(20)
    assert time.monotonic() - began < 10, "its first token would take 30"
    assert found == [Use()]
    assert slow.left.wait(10)


def test_leaving_the_loop_frees_the_server_too(chat_server: Serve) -> None:
    slow = Slow()
    with Client(chat_server(slow).url).stream(ASK) as stream:
        assert next(iter(stream)) == Text(0, "0 ")
    assert slow.left.wait(10)


def test_no_server_is_told_with_the_command_that_starts_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}/v1")
    for ask in (lambda: list(client.stream(ASK)), client.models):
        with pytest.raises(ServerDown, match=rf"127.0.0.1:{port}/v1 can't be reached; start it with `lapidar up`"):
            ask()
    with pytest.raises(ServerDown, match=r"no model server runs .*; start it with `lapidar up`"):
        connect(Settings(home=tmp_path))


@pytest.mark.parametrize("how", ["cut", "closed"])
def test_a_server_that_ends_in_the_middle_is_told_after_what_it_said(chat_server: Serve, how: str) -> None:
    def speak() -> Iterator[str]:
        yield f"data: {json.dumps(chunk({'content': '4'}))}\n\n"
        if how == "cut":
            raise ConnectionError("the process is gone")

    server = chat_server(lambda _: StreamingResponse(speak(), media_type="text/event-stream"))
    stream = iter(Client(server.url).stream(ASK))
    assert next(stream) == Text(0, "4")
    with pytest.raises(ServerDown, match="ended in the middle of the answer; if it is down, start it with `lapidar up`"):
        list(stream)


@pytest.mark.parametrize(
    ("status", "headers", "remedy"),
    [
        (401, {}, "set LAPIDAR_SERVER_TOKEN"),
        (404, {}, "choose one of the models"),
        (413, {}, "shorten the conversation"),
        (422, {}, "change the settings"),
        (429, {"Retry-After": "3"}, "try again in 3 s"),
        (503, {"Retry-After": "9"}, "try again in 9 s"),
        (500, {}, "look at its log"),
    ],
)
def test_refusals_say_what_the_server_said_and_a_remedy(
    chat_server: Serve, status: int, headers: dict[str, str], remedy: str
) -> None:
    server = chat_server(lambda _: JSONResponse({"error": {"message": "no\nluck"}}, status, headers))
    with pytest.raises(ServerError, match=rf"refused \(no luck\); .*{remedy}"):
        list(Client(server.url).stream(ASK))
    assert len(server.requests) == 1


def test_an_error_within_the_stream_is_told(chat_server: Serve) -> None:
    said = f"data: {json.dumps({'error': {'message': 'out of memory'}})}\n\n"
    with pytest.raises(ServerError, match=r"gave up \(out of memory\); try again"):
        list(Client(chat_server(lambda _: events(chunk({"content": "4"}), said)).url).stream(ASK))


def test_what_is_not_a_stream_is_refused(chat_server: Serve) -> None:
    with pytest.raises(ServerError, match="isn't JSON"):
        list(Client(chat_server(lambda _: events("data: {oops\n\n")).url).stream(ASK))
    with pytest.raises(InputError, match="is no model server"):
        Client("ftp://x")


def test_listed_models_may_say_more() -> None:
    listed = {"data": [{"id": "tiny@champion", "lapidar": {"version": "models:/tiny/3", "x": 1}}, {"id": "folder"}]}
    found = cards(listed)
    assert [(card.id, card.version) for card in found] == [("tiny@champion", "models:/tiny/3"), ("folder", None)]
    with pytest.raises(Exception, match="OpenAI-compatible"):
        cards({"data": [{"name": "x"}]})
