"""``python -m flows.supervisor``: starts the local services and restarts any that dies, until it is asked to stop."""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import psutil

from components import local_services
from components.settings import Settings
from flows import services
from flows.services import Service

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.3
_LONGEST_PAUSE = 30.0
_STEADY_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


@dataclass
class _Running:
    """A service's process and its history."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    sessions: list[tuple[int, float]] = field(default_factory=list)
    began: float = 0.0
    restarts: int = -1
    pause: float = 0.5
    next_start: float = 0.0

    def describe(self) -> dict[str, Any]:
        """For ``services.json``."""
        port = self.service.port
        return {
            "name": self.service.name,
            "address": f"http://127.0.0.1:{port}" if port else None,
            "pid": self.process.pid if self.process else None,
            "sessions": self.sessions,
            "restarts": self.restarts,
        }


class Supervisor:
    """Keeps the services of one home alive. The caller holds the supervisor's lock and the claims on its ports."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running = [_Running(service) for service in services.services(settings)]
        self._stop = threading.Event()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: leave the loop."""
        self._stop.set()

    def run(self) -> None:
        """Starts, watches, restarts; ends all services when it is stopped."""
        while not self._stop.wait(_POLL_SECONDS):
            changed = False
            for each in self._running:
                changed |= self._watch(each)
            if changed:
                self._write()
        for each in reversed(self._running):
            for number, created in each.sessions:
                services.end_session(number, created)
        (self._settings.services / "services.json").unlink(missing_ok=True)

    def _watch(self, each: _Running) -> bool:
        """Starts a service that isn't running and may be; returns whether anything changed."""
        now = time.monotonic()
        if each.process is not None:
            if each.process.poll() is None:
                return False
            logger.warning("%s ended with %s", each.service.name, each.process.returncode)
            each.pause = 0.5 if now - each.began > _STEADY_SECONDS else min(2 * each.pause, _LONGEST_PAUSE)
            each.process, each.next_start = None, now + each.pause
            if not each.service.keeps_children:
                services.end_session(*each.sessions[-1])  # they would keep the port
            each.sessions = [session for session in each.sessions if services.members(*session)]
            return True
        if now < each.next_start or not self._may_start(each.service):
            return False
        self._start(each)
        return True

    def _may_start(self, service: Service) -> bool:
        before = next((each for each in self._running if each.service.name == service.after), None)
        return before is None or services.works(before.service, before.sessions)

    def _start(self, each: _Running) -> None:
        port = each.service.port or 0
        with (self._settings.services / f"{each.service.name}.log").open("ab") as log:
            each.process = subprocess.Popen(
                [sys.executable, *each.service.command(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **each.service.environment(port)},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        each.began, each.restarts = time.monotonic(), each.restarts + 1
        each.sessions.append((each.process.pid, psutil.Process(each.process.pid).create_time()))
        logger.info("%s started as process %s", each.service.name, each.process.pid)

    def _write(self) -> None:
        found = [each.describe() for each in self._running if each.sessions]
        local_services.write(self._settings.services / "services.json", {"supervisor": os.getpid(), "services": found})


def _end_with_parent() -> None:
    """In the new process: Linux ends it when the supervisor dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> None:
    """Body of the supervisor's process. Leaves at once if another one lives."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings()
    lock = (settings.services / "supervisor.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    claims = local_services.claim_ports(settings)  # held for as long as this process lives
    supervisor = Supervisor(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    supervisor.run()
    for claim in claims:
        claim.close()


if __name__ == "__main__":
    main()
