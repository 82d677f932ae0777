"""The Prefect server of one run."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from components.settings import Settings
from flows.server import TemporaryServer


def test_it_stands_back_behind_what_trains(tmp_path: Path) -> None:
    """Where Linux shares cores among sessions, a nice value alone counts for nothing beside another session."""
    server = TemporaryServer(Settings(home=tmp_path))
    try:
        server.wait()
        process = server._process.pid
        assert psutil.Process(process).nice() == 10
        group = Path(f"/proc/{process}/autogroup")
        if not group.exists() or not (said := group.read_text()):
            pytest.skip("this kernel doesn't share cores among sessions")
        assert said.endswith("nice 10\n")
    finally:
        server.stop()
    assert not psutil.pid_exists(process)
