"""``lapidar chat`` from outside: one shot, a pipe, a real terminal with Ctrl-C, tools, and a server of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "flows.cli", "chat"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    mine = {"HOME": str(tmp_path), "LAPIDAR_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "LAPIDAR_THREADS": "1"}
    return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "TERM": "dumb"} | mine


def talk(environment: dict[str, str], *arguments: str, says: str = "", expected: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=says,
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == expected, done.stderr
    return done


def test_one_message(chat_server: Callable[..., Any], environment: dict[str, str]) -> None:
    server = chat_server(lambda _: "Good day")
    url = f"{server.url}#m"
    done = talk(environment, url, "--message", "Hello", "--system", "Be brief.", "--temperature", "0.1", says="from a pipe\n")
    assert done.stdout == "Goodday\n"
    (request,) = server.requests
    assert [m["content"] for m in request["messages"]] == ["Be brief.", "Hello\n\nfrom a pipe"]
    assert request["temperature"] == 0.1
    document = json.loads(talk(environment, url, "--json", says="Only piped").stdout)
    assert (document["answer"], document["reason"], document["steps"]) == ("Goodday", "answer", 1)
    assert document["tokens"] == {"prompt": 11, "completion": 5}
    assert server.requests[1]["messages"][-1]["content"] == "Only piped"


def test_a_conversation_through_a_pipe(chat_server: Callable[..., Any], environment: dict[str, str], tmp_path: Path) -> None:
    answers = iter(["one", "two", "three", "four", "five"])
    server = chat_server(lambda _: next(answers))
    lines = ["first", "/temperature 0.25", "second", "/retry", "/edit changed", "/save kept.jsonl", "/quit", "never said"]
    done = talk(environment, f"{server.url}#m", says="\n".join(lines))
    assert done.stdout.split() == ["one", "two", "three", "four"]
    said = [[m["content"] for m in request["messages"]] for request in server.requests]
    assert said == [["first"], ["first", "one", "second"], ["first", "one", "second"], ["first", "one", "changed"]]
    assert [request["temperature"] for request in server.requests] == [0.7, 0.25, 0.25, 0.25]
    record = json.loads((tmp_path / "kept.jsonl").read_text())
    assert [m["content"] for m in record["messages"]] == ["first", "one", "changed", "four"]
    again = talk(environment, f"{server.url}#m", "--load", "kept.jsonl", "--message", "more")
    assert again.stdout == "five\n"
    assert [m["content"] for m in server.requests[-1]["messages"]] == ["first", "one", "changed", "four", "more"]
    assert server.requests[-1]["temperature"] == 0.25


def test_commands_set_what_is_sent_and_mistakes_end_nothing(chat_server: Callable[..., Any], environment: dict[str, str]) -> None:
    from starlette.responses import JSONResponse

    answers = iter([JSONResponse({"error": {"message": "planted"}}, 400), "well", "still here"])
    server = chat_server(lambda _: next(answers))
    lines = [
        "/retry",
        "lost",
        "/retry",
        "/system Be kind",
        "/top_p 0.5",
        "/kv window 0.5",
        "/context window 99",
        "/top_p 7",
        "/kv x",
    ]
    lines += ["/tools shell", "/sytem x", "/load nothing.jsonl", "/edit", "once more", "/context", "/help"]
    done = talk(environment, f"{server.url}#m", says="\n".join(lines))
    assert done.stdout.split("\n")[:2] == ["well", "stillhere"]
    for words in (
        "nothing was asked yet",
        "planted",
        "top_p=7.0",
        "no KV cache method 'x'",
        "no tool 'shell'",
        "did you mean /system?",
    ):
        assert words in done.stderr
    for words in ("nothing.jsonl can't be read", "write /edit TEXT", "/tools [TOOL… | off]", "limit 99"):
        assert words in done.stderr
    lost, retried, last = server.requests
    assert [m["content"] for m in retried["messages"]] == ["lost"]
    assert [m["content"] for m in last["messages"]] == ["Be kind", "lost", "well", "once more"]
    assert last["top_p"] == 0.5
    assert last["lapidar"] == {"context": {"policy": "window", "limit": 99}, "kv": {"method": "window", "ratio": 0.5}}
    assert lost["lapidar"] == {"context": {"policy": "drop_oldest", "limit": None}}


def test_tool_steps_show_and_are_traced(chat_server: Callable[..., Any], environment: dict[str, str], tmp_path: Path) -> None:
    answers = iter([[("calculator", '{"expression": "6*7"}')], "It is 42."])
    server = chat_server(lambda _: next(answers))
    environment |= {"LAPIDAR_TRACKING_URI": "http://127.0.0.1:9"}  # down: the trace waits, the chat doesn't
    done = talk(environment, f"{server.url}#m", "-m", "6*7?", "--tool", "calculator:digits=5", "--tool-choice", "calculator")
    assert done.stdout == "Itis42.\n"
    assert '→ calculator({"expression": "6*7"})' in done.stderr
    assert "← 42" in done.stderr
    assert server.requests[0]["tool_choice"] == {"type": "function", "function": {"name": "calculator"}}
    (trace,) = (tmp_path / "home" / "traces").glob("tr-*.json")
    assert [span["name"] for span in json.loads(trace.read_text())["spans"]] == ["agent", "chat", "calculator", "chat"]


def test_each_server_gets_the_token_that_is_its_own(
    chat_server: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    own, other = chat_server(lambda _: "own"), chat_server(lambda _: "other")
    services = tmp_path / "home" / "services"
    services.mkdir(parents=True)
    running = [{"name": "models", "address": own.url.removesuffix("/v1"), "pid": 1, "restarts": 0}]
    (services / "services.json").write_text(json.dumps({"supervisor": 1, "services": running}))
    environment |= {"LAPIDAR_SERVER_TOKEN": "server-secret", "LAPIDAR_ENDPOINT_TOKEN": "endpoint-secret"}
    with (services / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for model in ("tiny@champion", f"{own.url}#tiny/1", f"{other.url}#m"):
            talk(environment, model, "-m", "Hello")
    assert [headers["authorization"] for headers in own.headers] == ["Bearer server-secret"] * 2
    assert [headers["authorization"] for headers in other.headers] == ["Bearer endpoint-secret"]


def test_what_is_wrong_is_told_before_anything_starts(environment: dict[str, str]) -> None:
    assert "no model 'nowhere'" in talk(environment, "nowhere", "-m", "x", expected=2).stderr
    assert "nothing to answer" in talk(environment, "http://127.0.0.1:9/v1#m", "--json", expected=2).stderr
    assert "no tool 'shel'" in talk(environment, "http://127.0.0.1:9/v1#m", "--tool", "shel", expected=2).stderr
    assert "can't be reached" in talk(environment, "http://127.0.0.1:9/v1#m", "-m", "x", expected=1).stderr


class Terminal:
    """The chat in a pseudo terminal."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(environment["HOME"])
            os.execve(sys.executable, [*COMMAND, *arguments], environment)
        self.seen = ""

    def read_until(self, words: str, seconds: float = 30.0) -> str:
        """What was shown since the last call, up to some words."""
        end, begin = time.monotonic() + seconds, len(self.seen)
        while words not in self.seen[begin:]:
            assert time.monotonic() < end, f"{words!r} didn't come: {self.seen[begin:]!r}"
            if select.select([self._fd], [], [], 0.2)[0]:
                self.seen += os.read(self._fd, 65536).decode(errors="replace")
        return self.seen[begin:]

    def type(self, text: str) -> None:
        """Keys."""
        os.write(self._fd, text.encode())

    def wait(self) -> int:
        """Its exit status; killed if it doesn't end by itself."""
        end = time.monotonic() + 20
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            with suppress(OSError):  # the other side is closed
                if select.select([self._fd], [], [], 0.1)[0]:
                    os.read(self._fd, 65536)


def test_ctrl_c_stops_an_answer_and_keeps_the_chat(
    chat_server: Callable[..., Any], streamed: Callable[..., Any], environment: dict[str, str]
) -> None:
    slow = "\x1b[2Jbegin " + "word " * 200
    answers = iter([streamed(slow, pause=0.1), "second answer"])
    server = chat_server(lambda _: next(answers))
    terminal = Terminal(environment, f"{server.url}#m")
    terminal.read_until("> ")
    terminal.type("tell me\r")
    shown = terminal.read_until("wordword")
    assert "\x1b[2J" not in shown  # a model can't clear the screen
    terminal.type("\x03")
    assert "stopped" in terminal.read_until("> ", 10.0)  # the whole answer takes 20
    terminal.type("\x03")
    terminal.read_until("/quit ends")
    terminal.type("and now?\r")
    terminal.read_until("secondanswer")
    kept = [m["content"] for m in server.requests[1]["messages"]]
    assert kept[0] == "tell me"
    assert kept[1].startswith("\x1b[2Jbeginword")
    assert kept[2] == "and now?"
    terminal.read_until("> ")
    terminal.type("\x04")
    assert terminal.wait() == 0


@pytest.mark.slow
def test_a_server_of_its_own_lives_as_long_as_the_chat(environment: dict[str, str], tiny_llama: Path, tmp_path: Path) -> None:
    import psutil

    def servers() -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if str(tiny_llama) in " ".join(_arguments(p)) and "serve" in _arguments(p)]

    environment |= {"LAPIDAR_SERVER_TOKEN": "server-secret"}  # which that server asks for, too
    document = json.loads(talk(environment, str(tiny_llama), "-m", "Question: 1 + 1?", "--max-tokens", "5", "--json").stdout)
    assert document["tokens"]["completion"] == 5
    assert document["context"]["limit"] == 256
    assert not servers()
    process = subprocess.Popen([*COMMAND, str(tiny_llama)], stdin=subprocess.PIPE, env=environment, cwd=tmp_path)
    end = time.monotonic() + 120
    while not servers() and time.monotonic() < end:
        time.sleep(0.1)
    assert servers()
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 120
    while servers() and time.monotonic() < end:
        time.sleep(0.1)
    assert not servers()


def _arguments(process: Any) -> list[str]:
    import psutil

    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found
