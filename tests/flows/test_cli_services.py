"""``lapidar up`` and ``down`` with the real services: they answer, come back when killed, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from components import local_services
from components.settings import Settings
from flows import server, services

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(new_home: Callable[[str], Any]) -> Iterator[Any]:
    """A home whose services run."""
    home = new_home("services")
    home.own_ports()
    home.command("up")
    yield home
    home.command("down")
    assert home.left_behind() == []


@pytest.fixture(scope="module")
def state(up: Any) -> dict[str, Any]:
    """What the services said when they had started."""
    return dict(local_services.state(Settings(home=up.path)))


def eventually(check: Callable[[], bool], seconds: float = 180.0) -> bool:
    limit = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < limit:
        time.sleep(0.2)
    return found


def pids(home: Any) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in local_services.state(Settings(home=home.path))["services"]}


def healthy(home: Any) -> bool:
    return all(service.healthy() for service in services.services(Settings(home=home.path)))


def test_addresses_answer_on_loopback_only(up: Any, state: dict[str, Any]) -> None:
    addresses = {service["name"]: service["address"] for service in state["services"]}
    assert addresses.keys() == {"prefect", "mlflow", "worker", "models", "dashboard"}
    for address in (f"{addresses['prefect']}/api/health", addresses["mlflow"], f"{addresses['dashboard']}/_stcore/health"):
        assert server.answers(address, 60.0)
    listening: list[str] = []
    for process in up.processes():
        with suppress(psutil.Error):  # it has just ended
            listening += [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 2
    assert set(listening) == {"127.0.0.1"}


def test_a_second_up_finds_the_first(up: Any, state: dict[str, Any]) -> None:
    before = pids(up)
    assert up.command("up", "--json")["supervisor"] == state["supervisor"]
    assert pids(up) == before


@pytest.mark.parametrize("name", ["prefect", "worker", "mlflow"])
def test_what_is_killed_is_started_again(up: Any, name: str) -> None:
    before = pids(up)
    os.kill(before[name], signal.SIGKILL)
    assert eventually(lambda: pids(up).get(name) not in (before[name], None) and healthy(up)), pids(up)
    assert {other: pid for other, pid in pids(up).items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }


def test_a_run_uses_the_running_server(up: Any) -> None:
    report = up.run("--until", "base")
    prefect = local_services.address(Settings(home=up.path), "prefect")
    found = server.post(f"{prefect}/api/flow_runs/filter", {"flow_runs": {"id": {"any_": [report["prefect_run"]]}}}, 60.0)
    assert [(run["name"], run["state"]["name"]) for run in found] == [("tiny", "Completed")]


def test_nothing_is_left_when_the_supervisor_is_killed(up: Any, state: dict[str, Any]) -> None:
    os.kill(local_services.state(Settings(home=up.path))["supervisor"], signal.SIGKILL)
    assert eventually(lambda: not local_services.running(Settings(home=up.path)))
    up.command("down")
    assert up.left_behind() == []
    again = up.command("up", "--json")
    assert [service["address"] for service in again["services"]] == [service["address"] for service in state["services"]]
    assert eventually(lambda: healthy(up))


def test_down_says_what_it_did(up: Any) -> None:
    assert up.command("down", "--json") == {"stopped": True}
    assert up.left_behind() == []
    assert up.command("down", "--json") == {"stopped": False}


def test_help_of_a_stopped_home_says_what_to_do(up: Any) -> None:
    done: subprocess.CompletedProcess[str] = up.call("deploy")
    assert done.returncode == 2
    assert "start them: `lapidar up`" in done.stderr
    assert not done.stdout
