"""Reruns a registered version from its record and says what came out, as a Prefect flow that a team can schedule.

The verdict stands below the home (``reproductions/<name>-<version>.json``) and as the version's tag ``lapidar.reproduced``.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from components import local_services, reproduction
from components.errors import InputError
from components.registry import Registry
from components.reproduction import Reproduction
from components.settings import Settings
from flows import publish, rerun
from flows.rerun import Place, RerunFailed

Record = dict[str, Any]


@flow(name="lapidar-reproduce", flow_run_name="{version}", validate_parameters=True)
def reproduce(version: str, revision: str | None = None, overrides: list[str] | None = None, keep: bool = False) -> Record:
    """Reruns a version; returns the verdict with all that it rests on.

    Args:
        version: ``models:/name/version`` or ``models:/name@alias``.
        revision: git revision to run instead of the recorded one, to see whether newer code still makes this version.
        overrides: settings to change, as in ``lapidar run``.
        keep: leave the worktree and the home of the rerun in place.

    Raises:
        InputError: if there is no such version, or its revision can't be had.
    """
    settings, began = Settings(), time.perf_counter()
    registry = Registry(settings, local_services.address(settings, "mlflow"))
    shown = registry.show(version)
    then = shown["evidence"]
    chosen = revision or then.get("code", {}).get("revision")
    if not chosen:
        raise InputError(f"{shown['uri']} doesn't say which code made it; name a revision with --revision")
    with rerun.place(settings, keep) as where:
        prepare(where, then, chosen)
        try:
            again = run_again(where, then, overrides or [], settings)
            found = judge(where, again, registry, shown)
        except RerunFailed as error:
            found = reproduction.failed(then, str(error))
    record = found.to_dict() | {
        "version": shown["uri"],
        "digest": shown["digest"],
        "revision": chosen,
        "overrides": overrides or [],
        "seconds": round(time.perf_counter() - began, 1),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "place": str(where.root) if keep else None,
    }
    _note(record, shown, settings, registry if chosen == then.get("code", {}).get("revision") and not overrides else None)
    publish.harmless(lambda: create_markdown_artifact("\n".join(lines(record)), key=publish.key("reproduced", shown["name"])))
    return record


@task(name="check out", cache_policy=NO_CACHE)
def prepare(where: Place, then: Record, revision: str) -> None:
    """The revision in a worktree."""
    rerun.check_out(where, revision)


@task(name="rerun", cache_policy=NO_CACHE)
def run_again(where: Place, then: Record, overrides: list[str], settings: Settings) -> str:
    """The recipe on the dataset version; returns the URI of what it registered."""
    project = rerun.lend_data(where, then, Path.cwd(), settings)
    recipe = rerun.lend_models(where, then["recipe"], settings)
    return rerun.run(where, project, recipe, then, overrides, settings)


@task(name="judge", cache_policy=NO_CACHE)
def judge(where: Place, again: str, registry: Registry, shown: Record) -> Reproduction:
    """Compares both versions."""
    there = Registry(Settings(home=where.home, tracking_uri=None, database_url=None))
    items = [found.items(uri) for found, uri in ((registry, shown["uri"]), (there, again))]
    return reproduction.compare(shown["evidence"], there.show(again)["evidence"], items[0], items[1], registry.floors(shown["uri"]))


def lines(record: Record) -> list[str]:
    """A verdict for people."""
    stages = record["stages"]
    same = sum(then == now for then, now in stages.values())
    found = [f"{record['version']}: {record['verdict']} ({same} of {len(stages)} stages made the same output)"]
    if record["first"]:
        found.append(f"first difference: {record['first']}")
    found += [f"  {cause['what']}: {cause['text']}" for cause in record["causes"]]
    found += [f"  {metric['benchmark']} {metric['metric']}: {metric['text']}" for metric in record["metrics"]]
    found.append(
        f"revision {record['revision'][:12]}, {record['seconds']:.0f} s"
        + (f"; kept in {record['place']}" if record["place"] else "")
    )
    return found


def _note(record: Record, shown: Record, settings: Settings, registry: Registry | None) -> None:
    """Keeps the verdict; a rerun with other code or settings says nothing about the version itself, so it gets no tag."""
    folder = settings.root / "reproductions"
    folder.mkdir(exist_ok=True)
    (folder / f"{shown['name']}-{shown['version']}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if registry is not None:
        brief = {name: record[name] for name in ("verdict", "first", "at", "causes")}
        registry.note(shown["uri"], {"lapidar.reproduced": json.dumps(brief)})
