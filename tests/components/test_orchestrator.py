"""Prefect over its REST API, asked of a real server: one with no worker, so what is started waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from components import orchestrator
from components.errors import LapidarError
from components.orchestrator import Orchestrator, OrchestratorDown
from components.settings import Settings
from flows.server import TemporaryServer


def test_schedules_are_said_in_words() -> None:
    every = [{"cron": "0 3 * * *", "timezone": None}, {"cron": "5 4 * * 1", "timezone": "Europe/Lisbon"}, {"interval": 900.0}]
    every.append({"rrule": "FREQ=DAILY"})
    found = orchestrator.schedules({"schedules": [{"schedule": each} for each in every]})
    assert found == ["0 3 * * * (UTC)", "5 4 * * 1 (Europe/Lisbon)", "every 900 s", "FREQ=DAILY"]
    assert orchestrator.schedules({"schedules": None}) == []


def test_what_a_form_shows_goes_back_to_where_it_was() -> None:
    parameters = {"recipe": {"sft": {"lr": 1e-3}, "align": [{"method": "dpo", "beta": 0.1}], "tags": []}}
    schema = {"properties": {"recipe": {}, "only_if_new": {"default": False}}}
    assert orchestrator.settable(parameters, schema) == {
        "recipe.sft.lr": 1e-3, "recipe.align.0.method": "dpo", "recipe.align.0.beta": 0.1, "recipe.tags": [], "only_if_new": False,
    }  # fmt: skip
    values = {"recipe.sft.lr": 2e-3, "recipe.align.0.beta": 0.2, "only_if_new": True}
    assert orchestrator.changed(parameters, values) == {
        "recipe": {"sft": {"lr": 2e-3}, "align": [{"method": "dpo", "beta": 0.2}], "tags": []}, "only_if_new": True,
    }  # fmt: skip
    assert parameters["recipe"]["sft"] == {"lr": 1e-3}, "what was given stays"


def test_a_server_that_is_not_there_is_a_sentence_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(OrchestratorDown, match="`lapidar up`"):
        orchestrator.connect(Settings(home=tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(OrchestratorDown, match=f"Prefect at {address} doesn't answer .*`lapidar up`"):
        Orchestrator(address).runs()


@pytest.mark.parametrize(("busy", "done"), [(2, True), (100, False)])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(busy: int, done: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(503 if len(asked) <= busy else 200)
            self.end_headers()
            self.wfile.write(b'{"status": "ACCEPT"}' if len(asked) > busy else b'{"exception_message": "Service Unavailable"}')

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(orchestrator, "_WAITS", (0.01, 0.01, 0.01))
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        prefect = Orchestrator(f"http://127.0.0.1:{server.server_port}")
        with nullcontext() if done else pytest.raises(LapidarError, match=r"HTTP 503.*Service Unavailable"):
            prefect.resume("0")
        server.shutdown()
    assert asked == [b"{}"] * (3 if done else 4)


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = Orchestrator(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.2)
        found: list[Exception] = []

        def ask() -> None:
            try:
                asked.count()
            except LapidarError as error:
                found.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(20)
    assert [type(error) for error in found] == [OrchestratorDown]


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    """A server with the deployments ``first`` and ``second`` of one flow, and a work pool."""
    server = TemporaryServer(Settings(home=tmp_path_factory.mktemp("orchestrated")))
    try:
        server.wait()
        with httpx.Client(base_url=server.api, timeout=60, trust_env=False) as client:

            def make(path: str, body: dict[str, Any]) -> Any:
                return client.post(path, json=body).raise_for_status().json()

            make("/work_pools/", {"name": "pool", "type": "process"})
            flow = make("/flows/", {"name": "pipeline"})["id"]
            for name in ("second", "first"):
                cron = {"schedule": {"cron": "0 3 * * *"}, "active": True}
                told = {
                    "name": name,
                    "flow_id": flow,
                    "work_pool_name": "pool",
                    "parameters": {"recipe": {"name": name, "seed": 0}},
                }
                make("/deployments/", told | {"schedules": [cron], "enforce_parameter_schema": False})
            make("/v2/concurrency_limits/", {"name": "gpu", "limit": 2, "active": True})
        yield Orchestrator(server.address, seconds=60)
    finally:
        server.stop()


def started(prefect: Orchestrator, **parameters: Any) -> dict[str, Any]:
    return prefect.start(prefect.deployments()[0]["id"], parameters)


def state(prefect: Orchestrator, run: dict[str, Any]) -> str:
    return str(prefect.run(run["id"])["state"]["type"])


def put(prefect: Orchestrator, run: dict[str, Any], kind: str) -> None:
    """What a worker would report."""
    httpx.post(
        f"{prefect.address}/api/flow_runs/{run['id']}/set_state", json={"state": {"type": kind}, "force": True}, timeout=60
    ).raise_for_status()


@pytest.mark.slow
def test_deployments_pools_and_slots_are_listed(prefect: Orchestrator) -> None:
    found = prefect.deployments()
    assert [each["name"] for each in found] == ["first", "second"]
    assert orchestrator.schedules(found[0]) == ["0 3 * * * (UTC)"]
    pool = next(each for each in prefect.pools() if each["name"] == "pool")
    assert [queue["name"] for queue in pool["queues"]] == ["default"]
    assert pool["workers"] == []
    (slot,) = prefect.slots()
    assert (slot["name"], slot["limit"], slot["active_slots"]) == ("gpu", 2, 0)


@pytest.mark.slow
def test_a_deployment_starts_with_changed_parameters(prefect: Orchestrator) -> None:
    before = prefect.count("waiting")
    run = started(prefect, recipe={"name": "first", "seed": 7})
    assert prefect.run(run["id"])["parameters"] == {"recipe": {"name": "first", "seed": 7}}
    assert state(prefect, run) == "SCHEDULED"
    assert prefect.count("waiting") == before + 1
    assert run["id"] in {each["id"] for each in prefect.runs("waiting", limit=200)}
    assert run["id"] not in {each["id"] for each in prefect.runs("failed", limit=200)}
    put(prefect, run, "FAILED")
    assert run["id"] in {each["id"] for each in prefect.runs("failed", limit=200)}
    assert state(prefect, run) in orchestrator.ENDED


@pytest.mark.slow
def test_a_run_that_waits_ends_at_once_and_one_that_runs_by_its_worker(prefect: Orchestrator) -> None:
    waiting, running = started(prefect), started(prefect)
    put(prefect, running, "RUNNING")
    for run in (waiting, running):
        prefect.cancel(prefect.run(run["id"]))
    assert (state(prefect, waiting), state(prefect, running)) == ("CANCELLED", "CANCELLING")


@pytest.mark.slow
def test_a_run_is_held_and_goes_on(prefect: Orchestrator) -> None:
    run = started(prefect)
    put(prefect, run, "RUNNING")
    prefect.suspend(run["id"])
    assert state(prefect, run) == "PAUSED"
    assert run["id"] in {each["id"] for each in prefect.runs("active", limit=200)}
    prefect.resume(run["id"])
    assert state(prefect, run) == "SCHEDULED"
    with pytest.raises(LapidarError, match="Prefect didn't do it"):
        prefect.resume(run["id"])


@pytest.mark.slow
def test_a_schedule_pauses_and_goes_on(prefect: Orchestrator) -> None:
    first = prefect.deployments()[0]["id"]
    for paused in (True, False):
        prefect.pause_schedule(first, paused)
        assert prefect.deployments()[0]["paused"] is paused


@pytest.mark.slow
def test_logs_and_tasks_come_in_their_order_a_page_at_a_time(prefect: Orchestrator) -> None:
    run = started(prefect)
    now = datetime.now(UTC).timestamp()
    common = {"name": "lapidar", "level": 20, "flow_run_id": run["id"]}
    at = [datetime.fromtimestamp(now + n, UTC).isoformat() for n in range(3)]
    lines = [{**common, "message": f"line {n}", "timestamp": at[n]} for n in (2, 0, 1)]
    with httpx.Client(base_url=f"{prefect.address}/api", timeout=60, trust_env=False) as client:
        client.post("/logs/", json=lines).raise_for_status()
        for name in ("one", "two"):
            task = {"flow_run_id": run["id"], "task_key": name, "dynamic_key": "0", "name": name, "state": {"type": "RUNNING"}}
            client.post("/task_runs/", json=task).raise_for_status()
    assert [line["message"] for line in prefect.logs(run["id"])] == ["line 0", "line 1", "line 2"]
    assert [line["message"] for line in prefect.logs(run["id"], offset=1, limit=1)] == ["line 1"]
    assert {step["name"] for step in prefect.steps(run["id"])} == {"one", "two"}


@pytest.mark.slow
def test_all_pages_are_read(prefect: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Orchestrator._pages
    monkeypatch.setattr(Orchestrator, "_pages", lambda self, path, body: pages(self, path, body, size=1))
    assert [each["name"] for each in prefect.deployments()] == ["first", "second"]


@pytest.mark.slow
def test_what_prefect_refuses_is_told_in_its_words(prefect: Orchestrator) -> None:
    with pytest.raises(LapidarError, match=r"Prefect refused GET /flow_runs/00000000-.*HTTP 404"):
        prefect.run("00000000-0000-0000-0000-000000000000")
    with pytest.raises(LapidarError, match="HTTP 4"):
        prefect.start("no uuid", {})
