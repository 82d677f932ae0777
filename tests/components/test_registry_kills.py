"""Kills and crowds: aliases and the audit log survive both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.registry import Registry
from components.settings import Settings

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parents[1])}

CROWD = """
import os, sys
sys.path.insert(0, sys.argv[2])
import registry_kills as planted
from components.settings import Settings
home, children = Settings(home=sys.argv[1]), []
for _ in range(20):
    if (pid := os.fork()) == 0:
        try:
            planted.register(planted.Registry(home), "d1")
            os._exit(0)
        except BaseException:
            planted.traceback.print_exc()
            os._exit(1)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


@pytest.mark.slow
def test_two_hundred_kills_leave_no_wrong_alias(home: Settings) -> None:
    command = [sys.executable, str(HERE / "registry_kills.py"), str(home.root), "200", "0"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert sum(found["killed"].values()) == 200
    assert min(found["killed"].values()) >= 10, "each kind of command is hit often, as chance has it"
    assert found["lines"] > 20


@pytest.mark.slow
def test_twenty_processes_that_register_one_digest_make_one_version(home: Settings) -> None:
    command = [sys.executable, "-c", CROWD, str(home.root), str(HERE)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == str([0] * 20), done.stderr
    registry = Registry(home)
    assert [(v.version, v.digest, v.aliases) for v in registry.list_versions("tiny")] == [("1", "d1", ["candidate"])]
    assert [(line["action"], line["to_version"]) for line in registry.audit()] == [("register", "1")]
    assert registry.audit_faults() == []
