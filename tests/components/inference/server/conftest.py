"""A real server in a process of its own, as the command line starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from openai import OpenAI

from components.artifacts import ModelRef
from tests.listening import held_port

ROOT = Path(__file__).parents[4]


class Served:
    """``lapidar serve`` on a port of its own.

    Args:
        port: one that somebody else holds; if None it is held here.
    """

    def __init__(self, home: Path, *arguments: str, port: int | None = None, **environment: str) -> None:
        self._held = None if port else held_port()
        self.port = port or int(self._held.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        home.mkdir(exist_ok=True)
        self.log = home / "server.log"
        known = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        mine = {
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "LAPIDAR_HOME": str(home),
            "LAPIDAR_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(self.port), *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=home, env=known | mine | environment, stdout=log, stderr=log)

    def wait(self, seconds: float = 120.0) -> Served:
        """Until it is ready."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/health").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def client(self, token: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=0, timeout=300)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=300, **how)

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def models(self) -> list[psutil.Process]:
        """Processes of loaded models."""
        return [child for child in psutil.Process(self.process.pid).children() if "worker" in " ".join(child.cmdline())]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        if self._held is not None:
            self._held.close()


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Starts servers, each in an empty home unless one is given."""
    servers: list[Served] = []

    def start(*arguments: str, home: Path | None = None, **environment: Any) -> Served:
        servers.append(Served(home or tmp_path_factory.mktemp("served") / "home", *arguments, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def served(serve: Callable[..., Served], tiny_llama: Path) -> Iterator[Served]:
    """A server of the tiny Llama as ``tiny``, and of itself as ``again``."""
    with held_port() as held:
        port = held.getsockname()[1]
        yield serve(f"tiny={tiny_llama}", f"again=http://127.0.0.1:{port}/v1#tiny", port=port).wait()


@pytest.fixture(scope="session")
def adapted(serve: Callable[..., Served], tiny_sft: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A server of a 4-bit base with two adapters over it: a trained one, and one of twice its strength."""
    import json
    import shutil

    assert tiny_sft.adapter is not None
    strong = tmp_path_factory.mktemp("strong") / "adapter"
    shutil.copytree(tiny_sft.adapter, strong)
    config = json.loads((strong / "adapter_config.json").read_text())
    (strong / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 4 * config["lora_alpha"]}))
    return serve(
        f"base={tiny_sft.base}", "--adapter", f"base+sft={tiny_sft.adapter}", "--adapter", f"base+strong={strong}"
    ).wait()  # fmt: skip
