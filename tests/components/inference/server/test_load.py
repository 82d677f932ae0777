"""A server under load, under attack and under kills: nobody gets another's answer, and it is there for the next request."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from components.errors import LapidarError
from components.inference.client import Ask, Client, ServerDown
from components.inference.reading import Reply, Text

TOKENS = 24
SAMPLES = 16
"""Of an answer that is left: so many tokens that it can't be whole before it is."""
URL = "/v1/chat/completions"


def asked(i: int) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": f"Tom has {i} apples and buys {(7 * i + 3) % 50}. How many?"},)


@pytest.fixture(scope="module")
def lively(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama with wide weights: its answers depend on every word, where narrow ones repeat one token for all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("lively") / "model"
    model = AutoModelForCausalLM.from_pretrained(str(tiny_llama), dtype=torch.float32)
    draw = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.3, generator=draw)
    model.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(tiny_llama)).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def expected(lively: Path) -> list[str]:
    """transformers' own greedy answers to 64 questions."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from components.inference.workers import single_threaded

    tokenizer = AutoTokenizer.from_pretrained(str(lively))
    model = AutoModelForCausalLM.from_pretrained(str(lively), dtype=torch.float32)
    found = []
    with torch.no_grad(), single_threaded():
        for i in range(64):
            ids = tokenizer.apply_chat_template(list(asked(i)), add_generation_prompt=True, return_dict=False)
            out = model.generate(torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
            found.append(tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True).strip())
    assert len(set(found)) > 60  # else a mixed-up answer could go unseen
    return found


@pytest.fixture(scope="module")
def crowded(serve: Callable[..., Any], lively: Path) -> Any:
    """A server for this file alone: it doesn't outlive its last test."""
    return serve(f"tiny={lively}").wait()


def answer(crowded: Any, i: int, tokens: int = TOKENS, leave_after: int | None = None) -> str:
    """A streamed answer; whoever leaves early, of many samples, gives what came."""
    ask = Ask("tiny", asked(i), max_tokens=tokens, temperature=0.0, n=1 if leave_after is None else SAMPLES)
    pieces: list[str] = []
    with Client(f"{crowded.url}/v1").stream(ask) as stream:
        for event in stream:
            if isinstance(event, Text):
                pieces.append(event.text)
                if leave_after is not None and len(pieces) >= leave_after:
                    stream.stop()
            elif isinstance(event, Reply) and leave_after is None:
                assert event.text == "".join(pieces)
    return "".join(pieces).strip()


def test_64_clients_at_once_get_their_own_answers(crowded: Any, expected: list[str]) -> None:
    with ThreadPoolExecutor(64) as threads:
        for _ in range(2):
            assert list(threads.map(lambda i: answer(crowded, i), range(64))) == expected


def test_64_streams_of_tokens_are_everybodys_own(crowded: Any, expected: list[str], lively: Path) -> None:
    """Plain completions of the same prompts as token ids, of different lengths, so that rows of the batch change places."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(lively))

    def one(i: int) -> str:
        ids = tokenizer.apply_chat_template(list(asked(i)), add_generation_prompt=True, return_dict=False)
        how = {"max_tokens": TOKENS - i % 16, "temperature": 0, "extra_body": {"return_token_ids": True}}
        chunks = crowded.client().completions.create(model="tiny", prompt=ids, stream=True, **how)
        tokens = [token for chunk in chunks for token in chunk.choices[0].model_extra["token_ids"]]
        return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    with ThreadPoolExecutor(64) as threads:
        for i, said in enumerate(threads.map(one, range(64))):
            assert expected[i].startswith(said) if i % 16 else said == expected[i]
            assert sum(other.startswith(said) for other in expected) == 1


def test_who_leaves_takes_nobody_along_and_frees_the_slot(crowded: Any, expected: list[str]) -> None:
    """Every second client leaves after two pieces of a long answer."""

    def one(i: int) -> str:
        return answer(crowded, i) if i % 2 == 0 else answer(crowded, i, 200, leave_after=2)

    before = crowded.metric("lapidar_generated_tokens_total")
    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(one, range(64)))
    assert answers[::2] == expected[::2]
    until = time.monotonic() + 5
    while (running := crowded.metric("lapidar_running_requests")) and time.monotonic() < until:
        time.sleep(0.02)
    assert running == 0
    assert crowded.metric("lapidar_generated_tokens_total") - before < 32 * SAMPLES * 200 / 2


MESSAGES = [{"role": "user", "content": "Hello"}]
DEEP: dict[str, Any] = {"type": "string"}
for _ in range(200):
    DEEP = {"type": "object", "properties": {"a": DEEP}}
HUGE = {"type": "object", "properties": {f"name-{i}": {"type": "string"} for i in range(20_000)}}
BODIES: dict[str, tuple[Any, range]] = {
    "nothing": (b"", range(400, 401)),
    "no JSON": (b"{'model': 'tiny'}", range(400, 401)),
    "no UTF-8": (b'{"model": "\xff\xfe"}', range(400, 401)),
    "an array": (b"[1, 2]", range(400, 401)),
    "not a number": (b'{"model": "tiny", "messages": [], "temperature": NaN}', range(400, 401)),
    "a number of a million digits": (b'{"model": "tiny", "seed": ' + b"9" * 1_000_000 + b"}", range(400, 423)),
    "nested without end": (b"[" * 200_000, range(400, 401)),
    "nested tools": (
        b'{"model": "tiny", "messages": [], "tools": [' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"]}",
        range(400, 401),
    ),
    "too large": (b'{"model": "tiny", "x": "' + b"a" * (5 << 20) + b'"}', range(413, 414)),
    "half a surrogate pair": (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', range(400, 401)),
    "no model": ({"messages": MESSAGES}, range(400, 423)),
    "another model": ({"model": "nowhere", "messages": MESSAGES}, range(404, 405)),
    "a path as model": ({"model": "../../../etc", "messages": MESSAGES}, range(404, 405)),
    "a foreign URL as model": ({"model": "http://127.0.0.1:9/v1#m", "messages": MESSAGES}, range(404, 405)),
    "no messages": ({"model": "tiny", "messages": []}, range(400, 423)),
    "an unknown role": ({"model": "tiny", "messages": [{"role": "root", "content": "x"}]}, range(400, 423)),
    "a number as content": ({"model": "tiny", "messages": [{"role": "user", "content": 3}]}, range(400, 423)),
    "an unknown field": ({"model": "tiny", "messages": MESSAGES, "exec": "id"}, range(400, 423)),
    "a negative limit": ({"model": "tiny", "messages": MESSAGES, "max_tokens": -1}, range(400, 423)),
    "a huge limit": ({"model": "tiny", "messages": MESSAGES, "max_tokens": 10**9}, range(400, 423)),
    "hot": ({"model": "tiny", "messages": MESSAGES, "temperature": 1e308}, range(400, 423)),
    "a million answers": ({"model": "tiny", "messages": MESSAGES, "n": 10**6}, range(400, 423)),
    "outgrown": ({"model": "tiny", "messages": [{"role": "user", "content": "word " * 5_000}]}, range(400, 423)),
    "an empty stop": ({"model": "tiny", "messages": MESSAGES, "stop": [""]}, range(400, 423)),
    "a broken schema": (
        {"model": "tiny", "messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 7}}}},
        range(400, 423),
    ),
    "a deep schema": (
        {"model": "tiny", "messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": {"schema": DEEP}}},
        range(400, 401),
    ),
    "a huge schema": (
        {"model": "tiny", "messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": {"schema": HUGE}}},
        range(400, 401),
    ),
    "a broken tool": ({"model": "tiny", "messages": MESSAGES, "tools": [{"type": "function"}]}, range(400, 423)),
    "a tool that isn't there": ({"model": "tiny", "messages": MESSAGES, "tool_choice": "required"}, range(200, 423)),
    "another cache": ({"model": "tiny", "messages": MESSAGES, "lapidar": {"kv": {"method": "../full"}}}, range(400, 423)),
    "an unknown policy": ({"model": "tiny", "messages": MESSAGES, "lapidar": {"context": {"policy": "pray"}}}, range(400, 423)),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_request_is_refused_and_the_next_one_answered(crowded: Any, expected: list[str], name: str) -> None:
    body, statuses = BODIES[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = crowded.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert said.status_code in statuses, said.text[:300]
    if said.status_code >= 400:
        error = said.json()["error"]
        assert error["message"]
        assert "Traceback" not in said.text
        assert len(said.text) < 5_000
    assert answer(crowded, 5) == expected[5]


RAW = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "a line without end": b"GET /" + b"a" * 300_000,
    "headers without end": b"GET /health HTTP/1.1\r\n" + b"X-A: " + b"b" * 400_000,
    "two lengths": b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\n{}",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{",
}


@pytest.mark.parametrize("name", RAW)
def test_what_isnt_a_request_ends_nothing(crowded: Any, expected: list[str], name: str) -> None:
    with socket.create_connection(("127.0.0.1", crowded.port), timeout=2) as connection, suppress(OSError):
        connection.sendall(RAW[name])
        connection.recv(4096)
    assert answer(crowded, 7) == expected[7]


def test_400_idle_connections_keep_nobody_out(crowded: Any, expected: list[str]) -> None:
    held = [socket.create_connection(("127.0.0.1", crowded.port), timeout=5) for _ in range(400)]
    try:
        for connection in held:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert answer(crowded, 9) == expected[9]
    finally:
        for connection in held:
            connection.close()


@pytest.mark.slow
def test_memory_stays_where_it_is(crowded: Any) -> None:
    """Some hundred requests; ``tests/benchmarks/serve.py`` does ten thousand."""

    def some(count: int) -> int:
        def one(i: int) -> None:
            body = {"model": "tiny", "messages": list(asked(i)), "max_tokens": 4, "stream": i % 2 == 0}
            httpx.post(f"{crowded.url}{URL}", json=body, timeout=300).raise_for_status()

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(one, range(count)))
        return sum(p.memory_info().rss for p in [psutil.Process(crowded.process.pid), *crowded.models()])

    some(100)
    before = some(100)
    assert some(300) - before < 12 << 20


def cut(crowded: Any, kill: Callable[[], None]) -> list[BaseException | str]:
    """What eight streaming clients see when something is killed in the middle of their answers, which are too long to be whole
    by then, or to wait for their readers in the system's buffers.
    """
    begun = threading.Semaphore(0)
    ask = [Ask("tiny", asked(i), max_tokens=200, temperature=1.5, n=16) for i in range(8)]

    def one(i: int) -> BaseException | str:
        first = True
        try:
            with Client(f"{crowded.url}/v1", timeout=120).stream(ask[i]) as stream:
                for event in stream:
                    if isinstance(event, Text) and first:
                        first = False
                        begun.release()
                        time.sleep(0.05 * (i % 2))  # so that some read on only after the kill
        except LapidarError as error:
            return error
        return "answered"

    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(one, i) for i in range(8)]
        assert all(begun.acquire(timeout=120) for _ in range(4))
        kill()
        return [future.result(60) for future in waiting]


@pytest.mark.slow
def test_a_killed_model_process_is_told_and_loaded_again(crowded: Any, expected: list[str]) -> None:
    processes = crowded.models()
    outcomes = cut(crowded, lambda: [process.kill() for process in processes] and None)
    errors = [outcome for outcome in outcomes if isinstance(outcome, LapidarError)]
    assert errors
    assert all("; " in str(error) for error in errors)
    assert answer(crowded, 3) == expected[3]


@pytest.mark.slow
def test_kill_9_of_the_server_is_told_and_the_next_one_answers(
    crowded: Any, serve: Callable[..., Any], expected: list[str], lively: Path
) -> None:
    workers = crowded.models()
    outcomes = cut(crowded, crowded.process.kill)
    crowded.process.wait(10)
    errors = [outcome for outcome in outcomes if outcome != "answered"]
    assert errors
    assert [error for error in errors if not isinstance(error, ServerDown)] == []
    assert any("ended in the middle" in str(error) for error in errors)  # who hadn't begun yet can't reach it any more
    with pytest.raises(ServerDown, match="can't be reached"):
        answer(crowded, 1)
    assert psutil.wait_procs(workers, timeout=20)[1] == []  # nothing holds the memory of a server that is gone
    again = serve(f"tiny={lively}", port=crowded.port).wait()
    assert answer(again, 1) == expected[1]
