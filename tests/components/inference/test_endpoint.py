from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.responses import JSONResponse, Response, StreamingResponse

from components.errors import InputError
from components.inference.endpoint import Endpoint, EndpointError, Reply, connect
from components.settings import Settings

ASK = [{"role": "user", "content": "2 + 2?"}]


def echo(body: dict[str, Any]) -> str:
    return f"you said {body['messages'][-1]['content']}"


def test_answers_with_finish_and_usage(chat_server: Callable[..., Any]) -> None:
    server = chat_server(echo)
    found = Endpoint(server.url, "tiny").chat(ASK, max_tokens=5, temperature=0.3, top_p=0.9, seed=4, stop=["\n"])
    assert found == [Reply("you said 2 + 2?", "stop", 7, 4)]
    assert server.requests == [
        {"messages": ASK, "model": "tiny", "max_tokens": 5, "temperature": 0.3, "top_p": 0.9, "seed": 4, "stop": ["\n"]}
    ]


def test_a_cut_answer_and_missing_usage_are_told_as_they_are(chat_server: Callable[..., Any]) -> None:
    body = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    server = chat_server(lambda _: JSONResponse(body))
    assert Endpoint(server.url, "tiny").chat(ASK, max_tokens=5) == [Reply("", "length", 0, 0)]


def test_n_answers_also_from_a_server_that_gives_one_at_a_time(chat_server: Callable[..., Any]) -> None:
    several = chat_server(lambda body: [f"answer {i}" for i in range(body.get("n", 1))])
    one = chat_server(lambda body: f"seed {body['seed']}")
    assert [r.text for r in Endpoint(several.url, "t").chat(ASK, max_tokens=5, n=3, seed=1)] == ["answer 0", "answer 1", "answer 2"]
    assert len(several.requests) == 1
    assert [r.text for r in Endpoint(one.url, "t").chat(ASK, max_tokens=5, n=3, seed=1)] == ["seed 1", "seed 2", "seed 3"]


def test_many_keep_their_order_and_run_beside_each_other(chat_server: Callable[..., Any]) -> None:
    busy = threading.Semaphore(0)
    together = threading.Barrier(4, timeout=10)

    def answer(body: dict[str, Any]) -> str:
        together.wait()  # gets on only if four requests are here at once
        busy.release()
        return echo(body)

    seen: list[int] = []
    asks = [[{"role": "user", "content": str(i)}] for i in range(8)]
    endpoint = Endpoint(chat_server(answer).url, "t")
    found = endpoint.chat_many(asks, max_tokens=5, concurrency=4, on_reply=lambda i, replies: seen.append(i))
    assert [replies[0].text for replies in found] == [f"you said {i}" for i in range(8)]
    assert sorted(seen) == list(range(8))


def test_a_server_that_is_down_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(EndpointError, match=rf"127.0.0.1:{port}/v1 can't be reached .*tried once: start the server") as caught:
        Endpoint(f"http://127.0.0.1:{port}", "t", retries=0).chat(ASK, max_tokens=5)
    assert caught.value.hopeless


def test_a_slow_server_times_out(chat_server: Callable[..., Any]) -> None:
    server = chat_server(lambda body: time.sleep(1.5) or "late")
    with pytest.raises(EndpointError, match=r"timed out after 0.2 s; it was asked 2 times: raise the timeout"):
        Endpoint(server.url, "t", timeout=0.2, retries=1).chat(ASK, max_tokens=5)


@pytest.mark.parametrize(
    ("status", "remedy"), [(500, "server's log"), (401, "LAPIDAR_ENDPOINT_TOKEN"), (404, "/v1"), (429, "busy")]
)
def test_http_errors_name_the_status_what_the_server_said_and_a_remedy(
    chat_server: Callable[..., Any], status: int, remedy: str
) -> None:
    server = chat_server(lambda _: JSONResponse({"error": {"message": "no\nluck"}}, status))
    with pytest.raises(EndpointError, match=rf"HTTP {status} \(no luck\); .*{remedy}"):
        Endpoint(server.url, "t", retries=0).chat(ASK, max_tokens=5)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_busy_server_is_asked_again_after_the_pause_that_it_asks_for(chat_server: Callable[..., Any], status: int) -> None:
    times: list[float] = []

    def answer(body: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        return "at last" if len(times) == 2 else Response("busy", status, headers={"Retry-After": "1"})

    assert Endpoint(chat_server(answer).url, "t").chat(ASK, max_tokens=5)[0].text == "at last"
    assert times[1] - times[0] >= 1.0


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_what_is_not_json_is_refused(chat_server: Callable[..., Any], content_type: str) -> None:
    server = chat_server(lambda _: Response('<html>{"choices": ', media_type=content_type))
    with pytest.raises(EndpointError, match="isn't JSON"):
        Endpoint(server.url, "t").chat(ASK, max_tokens=5)


@pytest.mark.parametrize("body", [{"choices": []}, {}, [], {"choices": "two"}, {"choices": [{"message": {"content": 5}}]}])
def test_an_answer_without_choices_is_refused(chat_server: Callable[..., Any], body: Any) -> None:
    server = chat_server(lambda _: JSONResponse(body))
    with pytest.raises(EndpointError, match="choice"):
        Endpoint(server.url, "t").chat(ASK, max_tokens=5)


def test_a_server_that_dies_within_an_answer(chat_server: Callable[..., Any]) -> None:
    def broken() -> Iterator[bytes]:
        yield b'{"choices": [{"message": {"con'
        raise RuntimeError("the process is gone")

    server = chat_server(lambda _: StreamingResponse(broken(), headers={"Content-Length": "1000"}))
    with pytest.raises(EndpointError, match="can't be reached"):
        Endpoint(server.url, "t", retries=0).chat(ASK, max_tokens=5)


def test_what_was_finished_before_the_server_died_is_kept_and_no_more_is_asked(chat_server: Callable[..., Any]) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return echo(body) if len(server.requests) <= 3 else Response("gone", 503)

    server = chat_server(answer)
    asks = [[{"role": "user", "content": str(i)}] for i in range(50)]
    with pytest.raises(EndpointError, match=r"HTTP 503 .*3 of 50 conversations were answered") as caught:
        Endpoint(server.url, "t", retries=0).chat_many(asks, max_tokens=5, concurrency=1)
    assert {i: replies[0].text for i, replies in caught.value.replies.items()} == {i: f"you said {i}" for i in range(3)}
    assert len(server.requests) < 10


def test_a_conversation_that_is_too_long_does_not_stop_the_others(chat_server: Callable[..., Any]) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return echo(body) if body["messages"][-1]["content"] != "1" else JSONResponse({"message": "context length"}, 400)

    asks = [[{"role": "user", "content": str(i)}] for i in range(4)]
    with pytest.raises(EndpointError, match=r"HTTP 400 \(context length\)") as caught:
        Endpoint(chat_server(answer).url, "t").chat_many(asks, max_tokens=5, concurrency=2)
    assert sorted(caught.value.replies) == [0, 2, 3]
    assert list(caught.value.failures) == [1]
    assert not caught.value.hopeless


def test_the_token_is_sent_and_shown_nowhere(chat_server: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    server = chat_server(lambda body: Response("no", 401))
    endpoint = connect(f"{server.url}#tiny", Settings(endpoint_token=SecretStr("s3cret")), retries=0)
    with pytest.raises(EndpointError) as caught:
        endpoint.chat(ASK, max_tokens=5)
    assert server.headers[0]["authorization"] == "Bearer s3cret"
    shown = f"{caught.value} {endpoint!r} {endpoint.name} {Settings(endpoint_token=SecretStr('s3cret'))!r} {caplog.text}"
    assert "s3cret" not in shown
    assert "tiny" in shown


def test_nothing_of_another_services_settings_is_sent(chat_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "ADMIN_KEY"):
        monkeypatch.setenv(f"OPENAI_{name}", "theirs")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    server = chat_server(echo)
    Endpoint(server.url, "t").chat(ASK, max_tokens=5)
    assert "authorization" not in server.headers[0]
    assert "theirs" not in json.dumps(server.headers)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("http://127.0.0.1:8000/v1", "names no model"),
        ("ftp://host/v1#m", "is no endpoint"),
        ("http://user:s3cret@host/v1#m", "holds a password"),
        ("http://host/v1?key=s3cret#m", "holds a password"),
    ],
)
def test_a_wrong_address_is_refused_before_anything_is_sent(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        connect(spec, Settings())
    assert message == "names no model" or "s3cret" not in str(caught.value)


def test_an_address_without_a_path_gets_the_usual_one() -> None:
    assert Endpoint("http://127.0.0.1:8000/", "m").name == "http://127.0.0.1:8000/v1#m"
