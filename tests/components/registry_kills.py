"""Kills processes at random moments of register, promote and roll back, and says what was wrong afterwards.

``python registry_kills.py HOME KILLS SEED`` forks its processes from one that has all imports done. Prints a JSON document:
how many were killed before their end, and every alias or log that was wrong at any moment.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
from mlflow import MlflowClient  # noqa: F401
from sqlalchemy import select

from components import audit, versions
from components.aliases import CHAMPION
from components.database.models import AliasMove
from components.errors import InputError
from components.gate import Evidence, Gate, Reason
from components.registry import GateError, Registry
from components.settings import Settings

PARITY = {"ok": True, "reload": {"identical_tokens": True, "max_logit_difference": 0.0}}
DIGESTS = ("d1", "d2", "d3")


def register(home: Settings, digest: str) -> None:
    folder = home.root.parent / "weights" / digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(digest.encode())
    registry = Registry(home)
    gate = Gate("pass", [Reason("champion", "pass", "planted")], digest, None)
    registry.register(registry.upload("tiny", {"merged": folder}, digest), Evidence(digest, parity=PARITY), gate)


def promote(home: Settings, digest: str) -> None:
    registry = Registry(home)
    version = next((each for each in registry.list_versions("tiny") if each.digest == digest), None)
    if version is None:
        return
    champion = registry.champion("tiny")
    try:
        registry.promote("tiny", version.version, Gate("pass", [], digest, champion.digest if champion else None))
    except GateError:
        pass  # another one was promoted since


def rollback(home: Settings, _: str) -> None:
    try:
        Registry(home).rollback("tiny", "Ada", "planted")
    except InputError:
        pass  # there is no previous champion yet


def looked_at(home: Settings) -> list[str]:
    """What is wrong before anything is mended: an alias that neither the log's last line nor an open move justifies."""
    registry = Registry(home)
    connection, ledger = registry._connection, registry._ledger
    found = [f"at the kill: {fault}" for fault in ledger.faults(connection)]
    digests = [each.digest for each in registry.list_versions("tiny")]
    return found + [f"version {d} exists twice" for d in set(digests) if digests.count(d) > 1]


def mended(home: Settings) -> list[str]:
    """What is wrong after the next command: any difference between the log and the aliases."""
    registry = Registry(home)
    registry.champion("tiny")
    ledger = registry._ledger
    with ledger.database.read() as session:
        left = session.scalars(select(AliasMove).filter_by(done_at=None)).all()
        stack = ledger.champions(session, "tiny")
        lines = audit.entries(session, ledger.tracker)
    now = versions.aliased(registry._connection, "tiny", CHAMPION)
    found = [f"after the next command: {fault}" for fault in ledger.faults(registry._connection)]
    if left:
        found.append(f"{len(left)} moves were left open")
    if (now.version if now else None) != (stack[-1] if stack else None):
        found.append(f"champion is {now and now.version}, the log's history says {stack}")
    if len({line.position for line in lines}) != len(lines):
        found.append("two lines have one position")
    return found


def forked(action: Callable[[], Any], seconds: float | None = None) -> tuple[bool, list[str]]:
    """(killed before its end, what the action returned), in a forked process that is killed after some seconds."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(read)
        try:
            found = action() or []
        except BaseException:
            found = [traceback.format_exc()]
        os.write(write, json.dumps(found).encode()[:60_000])
        os._exit(0)
    os.close(write)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and not said, json.loads(said) if said else []


def main(home: Settings, kills: int, seed: int) -> dict[str, Any]:
    rng, wrong, killed = random.Random(seed), [], {"register": 0, "promote": 0, "rollback": 0}
    actions: dict[str, Callable[[Settings, str], None]] = {"register": register, "promote": promote, "rollback": rollback}
    longest = {}
    for name, action in actions.items():
        began = time.perf_counter()
        wrong += forked(lambda action=action: action(home, "d1"))[1]
        longest[name] = time.perf_counter() - began
    while sum(killed.values()) < kills and len(wrong) < 20:
        name = rng.choice(list(actions))
        digest = rng.choice(DIGESTS)
        moment = rng.uniform(0.1, 1.0) * longest[name]
        was_killed, said = forked(lambda name=name, digest=digest: actions[name](home, digest), moment)
        killed[name] += was_killed
        wrong += said + forked(lambda: looked_at(home))[1] + (forked(lambda: mended(home))[1] if rng.random() < 0.5 else [])
    wrong += forked(lambda: mended(home))[1]
    return {"killed": killed, "wrong": wrong, "longest": longest}


if __name__ == "__main__":
    print(json.dumps(main(Settings(home=Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))))
