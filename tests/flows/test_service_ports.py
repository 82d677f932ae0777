"""Homes beside one another don't answer in each other's place."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from components import local_services
from components.local_services import PORTS, claim_ports, ports
from components.settings import Settings
from flows import server, services
from flows.services import Service


def home(folder: Path, name: str) -> Settings:
    settings = Settings(home=folder / name)
    settings.services.mkdir(parents=True)
    return settings


@pytest.fixture(autouse=True)
def own_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens at the usual ports or has claimed some is no part of this."""
    monkeypatch.setattr(local_services, "_claims", lambda: tmp_path / "claims")
    with ExitStack() as taken:
        probes = {name: taken.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for name in PORTS}
        for name, probe in probes.items():
            monkeypatch.setitem(PORTS, name, probe.getsockname()[1])


def test_two_homes_that_start_at_once_get_ports_of_their_own(tmp_path: Path) -> None:
    """Nothing listens yet: only the claims keep them apart."""
    first, second = home(tmp_path, "first"), home(tmp_path, "second")
    assert ports(first) == ports(second)
    held = claim_ports(first)
    others = claim_ports(second)
    assert not set(ports(first).values()) & set(ports(second).values())
    for claim in [*held, *others]:
        claim.close()
    before = ports(second)
    claim_ports(second)
    assert ports(second) == before  # addresses outlive a stop


def test_damaged_ports_are_chosen_anew(tmp_path: Path) -> None:
    settings = home(tmp_path, "first")
    (settings.services / "ports.json").write_text('{"prefect": 42')
    assert ports(settings).keys() == PORTS.keys()
    assert json.loads((settings.services / "ports.json").read_bytes()) == ports(settings)


def test_a_port_that_somebody_else_took_is_given_up(tmp_path: Path) -> None:
    settings = home(tmp_path, "first")
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        wanted = ports(settings) | {"mlflow": taken.getsockname()[1]}
        local_services.write(settings.services / "ports.json", wanted)
        claim_ports(settings)
        found = json.loads((settings.services / "ports.json").read_text())
        assert found["mlflow"] != wanted["mlflow"]
        assert found.keys() == PORTS.keys()


@pytest.fixture
def stranger() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of another home that answers everything."""
    port = local_services.free_port(0)
    process = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], start_new_session=True, stderr=subprocess.DEVNULL
    )
    limit = time.monotonic() + 30
    while not server.answers(f"http://127.0.0.1:{port}/") and time.monotonic() < limit:
        time.sleep(0.05)
    yield process, port
    process.kill()
    process.wait()


def session(process: subprocess.Popen[Any]) -> tuple[int, float]:
    return process.pid, psutil.Process(process.pid).create_time()


def test_a_stranger_that_answers_is_not_the_service(stranger: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = stranger
    service = Service("mlflow", port, lambda _: [], lambda _: {}, healthy=lambda: server.answers(f"http://127.0.0.1:{port}/"))
    mine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        assert service.healthy()
        assert not services.works(service, [session(mine)])
        assert not services.works(service, [])
        assert services.works(service, [session(mine), session(process)])
    finally:
        mine.kill()
        mine.wait()
