"""The views against ``lapidar serve`` with tiny real models: what the server says is understood, and its death is survived."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import components
from components.inference.client import Client
from components.reviews import arena, conversations
from components.settings import Settings
from dashboards.access import _user
from dashboards.talk import server
from dashboards.views import playground

pytestmark = pytest.mark.slow
Opener = Callable[..., AppTest]


@pytest.fixture(scope="module")
def served(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """(process, address) of a server of one tiny model under two names."""
    folder = tmp_path_factory.mktemp("served")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    root = str(Path(components.__file__).parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPIDAR_")}
    environment = kept | {"LAPIDAR_HOME": str(folder / "home"), "LAPIDAR_THREADS": "1", "PYTHONPATH": root}
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), f"one={tiny_llama}", f"two={tiny_llama}"]
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            break
        except OSError:
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.2)
    yield process, url
    process.kill()
    process.wait()
    log.close()


@pytest.fixture
def announced(served: Any, home: Settings, announce: Callable[..., Any]) -> Iterator[Any]:
    """The server, as the one of the test's home."""
    lock = announce(home.root, served[1])
    yield served
    lock.close()


def address(page: AppTest, name: str) -> str:
    found = page.query_params[name]
    return found if isinstance(found, str) else found[0]


def finished(match: str) -> None:
    """Waits for both answers of a match."""
    for side in "ab":
        answer = server.answers().get(f"arena.{match}.{side}")
        assert answer is not None
        assert answer.wait(60)


def test_every_view_talks_to_it(announced: Any, open_page: Opener, home: Settings) -> None:
    assert [card.id for card in Client(f"{announced[1]}/v1").models()] == ["one", "two"]
    page = open_page("chat", model="one")
    page.selectbox("talk.new.beside").set_value("two")
    for name, value in {"temperature": 0.0, "max_tokens": 12, "alternatives": 3, "limit": 120}.items():
        page.number_input(f"talk.new.{name}").set_value(value)
    page.selectbox("talk.new.kv").set_value("window").run()
    page.chat_input[0].set_value("Tom has 3 apples and buys 4. How many?").run()
    told = []
    for name in ("c", "d"):
        answer = server.answers().get(address(page, name))
        assert answer is not None
        assert answer.wait(60)
        told.append(conversations.load(home, _user(), address(page, name)).messages[1])
    page.run()
    assert not page.exception
    assert told[0].content == told[1].content  # the same weights, at temperature 0
    details = told[0].details
    assert details["use"]["context"]["limit"] == 120
    assert details["use"]["cache"]["cached"] < details["use"]["cache"]["length"]
    assert "".join(token[0] for token in details["tokens"]).strip() == told[0].content.strip()
    assert all(len(token[2]) == 3 for token in details["tokens"])
    arena.add_prompts(home, ["Tom has 2 apples."], "somebody")
    voting = open_page("arena", models="one,two")
    match = arena.next_match(home, _user(), ["one", "two"])
    assert match is not None
    finished(match.id)
    voting.run()
    assert "below the context limit of 256 tokens" in voting.error[0].value.replace("\\", "")
    voting.number_input("arena.max_tokens").set_value(12)
    next(each for each in voting.button if each.key == "arena.again").click().run()
    finished(match.id)
    voting.run()
    next(each for each in voting.button if each.key == "arena.vote.tie").click().run()
    assert arena.revealed(home, match.id, _user()).choice == "tie"
    grid = open_page("playground", model="one", t="0, 1", p="0.9", n="3")
    grid.text_area("playground.prompts").set_value("Tom has 2 apples.")
    grid.number_input("playground.max_tokens").set_value(8).run()
    next(each for each in grid.button if each.key == "playground.run").click().run()
    sweep = playground._sweeps()[address(grid, "grid")]
    assert sweep.wait(60)
    outcomes = sweep.look().outcomes.values()
    assert len(outcomes) == 4
    assert all(outcome.error == "" and outcome.logprob is not None and outcome.logprob < 0 for outcome in outcomes)


def test_its_death_mid_answer_is_told_and_the_answer_kept(announced: Any, open_page: Opener, home: Settings) -> None:
    process, _ = announced
    page = open_page("chat", model="one")
    page.number_input("talk.new.max_tokens").set_value(200)
    page.number_input("talk.new.temperature").set_value(1.0)
    page.number_input("talk.new.samples").set_value(16)
    others = set(server.answers()._found)

    def killed_when_it_speaks() -> None:
        """Beside the page, which may take as long to be drawn as the whole answer."""
        while process.poll() is None:
            found = [answer.look() for name, answer in dict(server.answers()._found).items() if name not in others]
            if any(text.strip() for now in found for text in now.texts):
                process.kill()
            time.sleep(0.001)

    killer = threading.Thread(target=killed_when_it_speaks)
    killer.start()
    page.chat_input[0].set_value("Tell me all.").run()
    killer.join(60)
    answer = server.answers().get(address(page, "c"))
    assert answer is not None
    assert answer.wait(20)
    assert answer.look().error is not None
    page.run()
    assert not page.exception
    shown = "".join(each.value for each in page.error).replace("\\", "")
    assert "lapidar up" in shown
    assert any(conversations.load(home, _user(), address(page, "c")).messages[-1].details["samples"])
