"""Home and Flows against a real Prefect server: a held flow run is listed, and goes on when somebody says so."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components.orchestrator import Orchestrator
from components.settings import Settings
from components.waiting import waiting
from flows.server import TemporaryServer

from .conftest import Recorded, words_of

pytestmark = pytest.mark.slow
Opener = Callable[..., AppTest]


@dataclass(frozen=True)
class Held:
    """A home whose Prefect holds one flow run."""

    home: Path
    prefect: Orchestrator
    run: str

    def state(self) -> str:
        return str(self.prefect.run(self.run)["state"]["type"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Orchestrator]]:
    """A home that says that its Prefect runs, and the server."""
    settings = Settings(home=tmp_path_factory.mktemp("held") / "home", tracking_uri=None, store=None, database_url=None)
    settings.prepare()
    settings.services.mkdir(parents=True, exist_ok=True)
    server = TemporaryServer(settings)
    said = {"supervisor": 0, "services": [{"name": "prefect", "address": server.address, "pid": 0, "restarts": 0}]}
    (settings.services / "services.json").write_text(json.dumps(said))
    with (settings.services / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server.wait()
        yield settings.root, Orchestrator(server.address, 20)
        server.stop()


@pytest.fixture
def held(served: tuple[Path, Orchestrator]) -> Held:
    home, prefect = served
    flow = prefect._post("/flows/", {"name": "nightly"})
    deployment = prefect._post("/deployments/", {"name": "nightly", "flow_id": flow["id"], "paused": False, "entrypoint": "x.py:f"})
    body: dict[str, Any] = {"name": "quiet-owl", "flow_id": flow["id"], "deployment_id": deployment["id"]}
    run = prefect._post("/flow_runs/", {**body, "state": {"type": "RUNNING"}})["id"]
    prefect.suspend(run)
    line = {"name": "flow", "level": 20, "message": "waits for <b>you</b>", "timestamp": "2026-01-01T00:00:00Z", "flow_run_id": run}
    prefect._post("/logs/", [line])  # type: ignore[arg-type]
    return Held(home, prefect, run)


def test_home_lists_a_held_flow_and_lets_it_go_on(held: Held, recorded: Recorded, open_page: Opener) -> None:
    [found] = [each for each in waiting(Settings(home=held.home), [], []) if each.subject == held.run]
    assert (found.kind, found.name) == ("paused", "quiet-owl")
    (held.home / "runs").mkdir(exist_ok=True)
    for run in (recorded.home / "runs").iterdir():
        if not (held.home / "runs" / run.name).exists():
            (held.home / "runs" / run.name).symlink_to(run)
    page = open_page("home", held.home)
    assert not page.exception
    assert r"Flow is held: quiet\-owl" in [link.label for link in page.get("page_link")]
    assert held.state() == "PAUSED"
    page.button(key=f"resume-{held.run}").click().run()
    assert not page.exception
    assert held.state() != "PAUSED"
    assert f"resume-{held.run}" not in [button.key for button in page.button]


def test_flows_shows_a_run_with_its_log_and_cancels_it(held: Held, open_page: Opener) -> None:
    page = open_page("flows", held.home)
    assert not page.exception
    assert r"**quiet\-owl**" in words_of(page)
    page = open_page("flows", held.home, run=held.run)
    assert not page.exception
    assert "waits for <b>you</b>" in [line.partition(" ")[2] for each in page.code for line in each.value.splitlines()]
    next(button for button in page.button if button.label == "Cancel").click().run()
    assert not page.exception
    assert held.state() in ("CANCELLED", "CANCELLING")


def test_flows_shows_schedules_and_pauses_them(held: Held, open_page: Opener) -> None:
    page = open_page("flows", held.home, section="schedules")
    assert not page.exception
    assert "**nightly**" in words_of(page)
    next(button for button in page.button if button.key and button.key.startswith("pause-")).click().run()
    assert not page.exception
    assert [each["paused"] for each in held.prefect.deployments()] == [True]
