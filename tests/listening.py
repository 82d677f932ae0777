"""Servers of tests on the loopback: any ASGI application in a thread of this process, and a port for one in another process."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any


def held_port() -> socket.socket:
    """A bound socket that doesn't listen: a server may listen on its port, which nobody else is given before or afterwards."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Listening:
    """Answers from when it is made until ``stop``.

    Attributes:
        url: where it listens, without a path.
    """

    def __init__(self, app: Any) -> None:
        import uvicorn

        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0))
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def leave(self) -> None:
        """Begins to stop."""
        self._server.should_exit = self._server.force_exit = True

    def stop(self) -> None:
        """Takes no further connection and drops those there are."""
        self.leave()
        self._thread.join(10)
        self._listening.close()
