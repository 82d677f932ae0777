"""Ctrl-C, which a terminal sends to every process of a run: a sentence, exit code 1, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.flows.conftest import TINY

pytestmark = pytest.mark.slow


def importing(home: Path, run: psutil.Process) -> bool:
    """The warm parent has been importing for a while."""
    with suppress(psutil.Error):
        for process in run.children(recursive=True):
            if "forkserver" in " ".join(process.cmdline()):
                return time.time() - process.create_time() > 1.0
    return False


def training(home: Path, run: psutil.Process) -> bool:
    return any((home / "work" / "model").glob("*/checkpoints/checkpoint-*/COMPLETE"))


@pytest.mark.parametrize("moment", [importing, training])
def test_ctrl_c_at_any_moment(home: Any, moment: Callable[[Path, psutil.Process], bool]) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", str(TINY), "model.pretrain.max_steps=4000", "--json"]
    process = subprocess.Popen(
        command,
        cwd=home.beside,
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    limit = time.monotonic() + 120
    while not moment(home.path, psutil.Process(process.pid)):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 1, error
    assert error.endswith("lapidar: interrupted; finished stages are kept, run again to go on\n")
    assert "Traceback" not in error
    assert json.loads(output)["error"]["type"] == "Interrupted"
    assert home.left_behind() == []
