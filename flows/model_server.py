"""Finds the server that answers for a model: an endpoint, this home's model server, or one that lives as long as this command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components import local_services
from components.errors import InputError, LapidarError
from components.inference.client import Client
from components.inference.endpoint import connect, is_endpoint
from components.inference.tokens import server_token, token_for
from components.settings import Settings
from flows import server

_START_SECONDS = 180.0
_REGISTERED = re.compile(r"(?:models:/)?[^/@:+#\s]+(?:/\d+|@[\w-]+)")
# Ends with whoever started it, however that ends: it reads until the other side of its standard input is closed.
_FOLLOW = (
    "import os, sys, threading; "
    "threading.Thread(target=lambda: (sys.stdin.buffer.read(), os.kill(os.getpid(), 15)), daemon=True).start(); "
    "from flows.cli import main; main()"
)


@contextmanager
def serving(settings: Settings, model: str) -> Iterator[tuple[Client, str]]:
    """(client, the model's name there).

    Args:
        model: a registered version or alias, a folder, what a running server lists, or ``URL#model`` of an endpoint.

    Raises:
        InputError: if there is no such model.
        LapidarError: if a server of its own doesn't start; names its log.
    """
    if is_endpoint(model):
        found = connect(model, settings)
        yield Client(found.url, token_for(settings, found.url)), found.model
        return
    name = model.removeprefix("models:/")
    if (address := local_services.address(settings, "models")) is not None:
        client = Client(f"{address}/v1", server_token(settings))
        if _REGISTERED.fullmatch(name) or name in {card.id for card in client.models()}:
            yield client, name
            return
    if not _REGISTERED.fullmatch(name) and not Path(model).is_dir():
        raise InputError(f"no model {model!r}; give NAME@ALIAS, NAME/VERSION, a model's folder, or URL#MODEL of an endpoint")
    started = _Started(settings, model)
    try:
        started.wait()
        yield Client(f"{started.address}/v1", server_token(settings)), name if _REGISTERED.fullmatch(name) else "model"
    finally:
        started.stop()


class _Started:
    """A model server of one command."""

    def __init__(self, settings: Settings, model: str) -> None:
        settings.prepare()
        settings.services.mkdir(exist_ok=True)
        self._log = settings.services / f"chat-{os.getpid()}.log"
        port = local_services.free_port(0)
        self.address = f"http://127.0.0.1:{port}"
        folder = Path(model)
        spec = f"model={folder.absolute()}" if folder.is_dir() else model
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _FOLLOW, "serve", spec, "--port", str(port)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "LAPIDAR_HOME": str(settings.root)},
                start_new_session=True,  # Ctrl-C stops an answer, not the server
            )

    def wait(self) -> None:
        """Returns when the model is loaded."""
        limit = time.monotonic() + _START_SECONDS
        while not server.answers(f"{self.address}/health"):
            if self._process.poll() is not None or time.monotonic() > limit:
                lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                said = lines[-1].removeprefix("lapidar: ")[:300] if lines else "it said nothing"
                raise LapidarError(f"the model server didn't start ({said}); its log is {self._log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it; its log stays only where it failed."""
        failed = self._process.poll() not in (None, 0)
        server.end(self._process)
        if not failed:
            self._log.unlink(missing_ok=True)
