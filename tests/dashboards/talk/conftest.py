"""A model server that speaks the protocol on loopback and does what its questions say, and a home that knows it runs.

It is for what a real model can't be made to do: to die at a given word, to say HTML, to take its time.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dashboards
from components import local_services
from components.settings import Settings
from tests.listening import Listening

HOSTILE = (
    "<img src=http://evil.invalid/x.png onerror=alert(1)> ![x](http://evil.invalid/y.png) [link](http://evil.invalid) **bold** $x$"
)


def version(name: str) -> str:
    """The registered version behind a name: an alias means the first."""
    return name if name.startswith("models:/") else f"models:/{name.replace('@champion', '/1')}"


class Speaker(Listening):
    """The server, which does what a question says.

    ``slow`` is answered a word at a time (``slowly``: fewer words; with ``endless``: until it is stopped; with ``hold``: not whole
    before ``may_end`` is set), at ``die`` the connection breaks, to ``hostile`` the answer is markup, to ``code`` indented code,
    about ``how many`` samples disagree; with tools the first is called; everything else is said back.
    """

    def __init__(self, models: tuple[str, ...]) -> None:
        from fastapi import FastAPI, Request
        from starlette.responses import JSONResponse, StreamingResponse

        self.requests: list[dict[str, Any]] = []
        self.running = 0
        self.may_end = threading.Event()
        app = FastAPI()

        async def listed(_: Request) -> Any:
            rows = [{"id": name, "object": "model", "lapidar": {"version": version(name)}} for name in models]
            return JSONResponse({"object": "list", "data": rows})

        async def completions(request: Request) -> Any:
            body = await request.json()
            self.requests.append(body)
            if body["model"] not in {*models, *map(version, models)}:
                return JSONResponse({"error": {"message": f"there is no model {body['model']!r}"}}, 404)
            return StreamingResponse(self._speak(body), media_type="text/event-stream")

        app.add_route("/v1/models", listed, methods=["GET"])
        app.add_route("/v1/chat/completions", completions, methods=["POST"])
        super().__init__(app)

    async def _speak(self, body: dict[str, Any]) -> Any:
        asked = str(body["messages"][-1]["content"])
        self.running += 1
        try:
            count = 0
            if body.get("tools") and body["messages"][-1]["role"] == "user":
                call = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps({"expression": asked})}
                calls = [{"index": 0, "id": "call-1", "type": "function", "function": call}]
                yield _line(body, 0, {"content": "Let me see."}, None)
                yield _line(body, 0, {"tool_calls": calls}, "tool_calls")
                yield "data: [DONE]\n\n"
                return
            for index in range(body.get("n", 1)):
                for number, word in enumerate(self._words(body["model"], asked, index)):
                    if "slow" in asked or "die" in asked:
                        await asyncio.sleep(0.05)
                    if "die" in asked and number == 3:
                        raise ConnectionError("the process is gone")
                    count += 1
                    yield _line(body, index, {"content": word}, None, word)
                while "hold" in asked and not self.may_end.is_set():
                    await asyncio.sleep(0.01)
                yield _line(body, index, {}, "stop", "</s>")  # as our server: the end token has a probability, and no text
            prompt = sum(len(str(message["content"]).split()) for message in body["messages"])
            context = {
                "limit": 100,
                "asked": prompt,
                "prompt": prompt,
                "answer": 50,
                "dropped_turns": 0,
                "dropped_tokens": 0,
                "ratio": 0.0,
            }
            ours = {"version": version(body["model"]), "digest": "ab" * 32, "context": context, "kv": None}
            ours |= {"seconds": {"queued": 0.0, "first_token": 0.01, "total": 0.1}, "reused_tokens": 0}
            usage = {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}
            yield f"data: {json.dumps(_chunk(body) | {'choices': [], 'usage': usage, 'lapidar': ours})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    def _words(self, model: str, asked: str, index: int) -> Iterable[str]:
        if asked == "code":
            return ["    if a < b:\n", "        <b>a</b>\n", "    return"]
        if "hostile" in asked:
            return [HOSTILE]
        if "how many" in asked:
            return ["The answer is ", ["7", "7", "8"][index % 3], "."]
        if "endless" in asked:
            return (f"word{number} " for number in itertools.count())
        if "slow" in asked or "die" in asked:
            return [f"word{number} " for number in range(20 if "slowly" in asked else 100)]
        return [f"{model} heard:", *(f" {word}" for word in asked.split())]


def _chunk(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}


def _line(body: dict[str, Any], index: int, delta: dict[str, Any], finish: str | None, word: str | None = None) -> str:
    choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": finish}
    if word is not None and body.get("logprobs"):
        others = [{"token": f"other{i}", "logprob": math.log(0.4) - i, "bytes": None} for i in range(body["top_logprobs"])]
        choice["logprobs"] = {"content": [{"token": word, "logprob": math.log(0.5), "bytes": None, "top_logprobs": others}]}
    return f"data: {json.dumps(_chunk(body) | {'choices': [choice]})}\n\n"


def announce(home: Path, url: str | None) -> Any:
    """Makes a home say that its model server runs there; the returned file holds the supervisor's lock."""
    settings = Settings(home=home)
    settings.services.mkdir(parents=True, exist_ok=True)
    services = [] if url is None else [{"name": "models", "address": url, "pid": 0, "restarts": 0}]
    (settings.services / "services.json").write_text(json.dumps({"supervisor": 0, "services": services}))
    lock = (settings.services / "supervisor.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert local_services.address(settings, "models") == url
    return lock


Serving = Callable[..., Speaker]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """``serving("m@champion", …)``: a server of these models for the home ``tmp_path / "home"``."""
    started: list[Any] = []

    def start(*models: str) -> Speaker:
        speaker = Speaker(models)
        started.extend([speaker, announce(tmp_path / "home", speaker.url)])
        return speaker

    yield start
    for each in started:
        each.stop() if isinstance(each, Speaker) else each.close()


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """The settings of the home that ``serving`` and ``open_page`` use."""
    return Settings(home=tmp_path / "home")


class Site:
    """The dashboard in a process of its own, on a home whose model server speaks as ``Speaker`` does."""

    def __init__(self, folder: Path) -> None:
        self.home = Settings(home=folder / "home")
        self.speaker = Speaker(("m@champion", "n@champion"))
        self._lock = announce(self.home.root, self.speaker.url)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        app = Path(dashboards.__file__).with_name("app.py")
        command = [sys.executable, "-m", "streamlit", "run", str(app), "--server.port", self.url.rsplit(":", 1)[1]]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPIDAR_")}
        environment = kept | {"LAPIDAR_HOME": str(self.home.root), "PYTHONPATH": str(app.parents[1])}
        self._log = (folder / "dashboard.log").open("wb")
        self._process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", int(command[-1])), 0.5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((folder / "dashboard.log").read_text())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self.speaker.stop()
        for each in (self._lock, self._log):
            each.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running dashboard for a file's browser tests."""
    running = Site(tmp_path_factory.mktemp("site"))
    yield running
    running.stop()


@pytest.fixture(name="announce")
def _announce() -> Callable[..., Any]:
    """``announce(home, url)``: the function of this file."""
    return announce
