"""Kills processes at random moments of register, promote and roll back, and says what was wrong afterwards.

``python registry_kills.py HOME KILLS SEED`` forks its processes from one that has done all of it once and holds no connection, so
that each begins at once, and lets each fourth one end, so that there is always something to promote and to roll back. Prints a
JSON document: how many were killed before their end, and every alias or log that was wrong at any moment.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"  # a connection doesn't outlive its transaction, nor a fork

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
DIGESTS = tuple(f"d{number}" for number in range(1, 40))
"""Many, so that registering often makes a version."""


def register(registry: Registry, digest: str) -> None:
    folder = registry._settings.root.parent / "weights" / digest
    folder.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{digest}.part-{os.getpid()}")  # whole or not there: others write and read the same file
    part.write_bytes(digest.encode())
    part.replace(folder / "model.safetensors")
    gate = Gate("pass", [Reason("champion", "pass", "planted")], digest, None)
    registry.register(registry.upload("tiny", {"merged": folder}, digest), Evidence(digest, parity=PARITY), gate)


def promote(registry: Registry, digest: str) -> None:
    version = next((each for each in registry.list_versions("tiny") if each.digest == digest), None)
    if version is None:
        return
    champion = registry.champion("tiny")
    with suppress(GateError):  # an open move of a killed process was finished since
        registry.promote("tiny", version.version, Gate("pass", [], digest, champion.digest if champion else None))


def rollback(registry: Registry, _: str) -> None:
    with suppress(InputError):  # there is no previous champion yet
        registry.rollback("tiny", "Ada", "planted")


def looked_at(registry: Registry) -> list[str]:
    """What is wrong before anything is mended: an alias that neither the log's last line nor an open move justifies."""
    connection, ledger = registry._connection, registry._ledger
    found = [f"at the kill: {fault}" for fault in ledger.faults(connection)]
    digests = [each.digest for each in registry.list_versions("tiny")]
    return found + [f"version {d} exists twice" for d in set(digests) if digests.count(d) > 1]


def mended(registry: Registry) -> list[str]:
    """What is wrong after the next command: any difference between the log and the aliases."""
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


def checked(registry: Registry, mend: bool) -> list[str]:
    """Both."""
    return looked_at(registry) + (mended(registry) if mend else [])


def forked(registry: Registry, action: Callable[[Registry], Any], seconds: float | None = None) -> tuple[bool, list[str], float]:
    """(killed before its end, what the action returned, its seconds), in a forked process.

    Args:
        seconds: when it is killed, from the moment at which it begins.
    """
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(read)
        try:
            os.write(write, b" ")
            found = action(registry) or []
        except BaseException:
            found = [traceback.format_exc()]
        os.write(write, json.dumps(found).encode()[:60_000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as pipe:
        pipe.read(1)
        began = time.perf_counter()
        if seconds is not None:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        said = b"".join(iter(lambda: pipe.read(65536), b""))
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and not said, json.loads(said) if said else [], time.perf_counter() - began


def main(home: Settings, kills: int, seed: int) -> dict[str, Any]:
    rng, wrong, killed = random.Random(seed), [], {"register": 0, "promote": 0, "rollback": 0}
    actions: dict[str, Callable[[Registry, str], None]] = {"register": register, "promote": promote, "rollback": rollback}
    longest: dict[str, float] = {}
    registry = Registry(home)
    for action in actions.values():
        action(registry, DIGESTS[0])
    wrong += checked(registry, True)
    registry._database.engine.dispose()
    gc.freeze()
    for digest in DIGESTS[:3]:  # what the first ones do is shorter: nothing is there yet to be promoted over or rolled back to
        for name, action in actions.items():
            _, said, longest[name] = forked(registry, lambda registry, action=action, digest=digest: action(registry, digest))
            wrong += said
    for turn in itertools.count():
        if sum(killed.values()) >= kills or len(wrong) >= 20:
            break
        name, digest, mend = rng.choice(list(actions)), rng.choice(DIGESTS), rng.random() < 0.5  # not in the fork, which has a copy
        seconds = rng.uniform(0, 1) * longest[name] if turn % 4 else None
        was_killed, said, _ = forked(registry, lambda registry, name=name, digest=digest: actions[name](registry, digest), seconds)
        killed[name] += was_killed
        wrong += said + forked(registry, lambda registry, mend=mend: checked(registry, mend))[1]
    wrong += forked(registry, mended)[1]
    with registry._database.read() as session:
        lines = len(audit.entries(session, "local"))
    return {"killed": killed, "wrong": wrong, "seconds": longest, "lines": lines}


if __name__ == "__main__":
    print(json.dumps(main(Settings(home=Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))))
