"""A server of a test: any ASGI application on the loopback, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any


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
