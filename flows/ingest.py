"""Ingestion as a Prefect flow: builds a recipe's dataset on a schedule and says so when that makes a new version.

The event ``lapidar.dataset.changed`` carries the md5; an automation may start the pipeline on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from components import recipe as recipes
from components.data import versions
from components.errors import InputError
from components.settings import Settings
from flows.deployments import CHANGED, resource


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """A remote may come back; wrong input stays wrong."""
    return not isinstance(state.result(raise_on_failure=False), InputError)


@task(name="build", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=30, retry_condition_fn=_may_pass)
def build(recipe: str, overrides: list[str]) -> dict[str, Any]:
    """Builds, checks, versions and pushes a recipe's dataset; returns its md5 and whether that is new."""
    settings = Settings()
    settings.prepare()
    loaded = recipes.load(recipe, overrides)
    built = versions.build(loaded.data, settings, Path.cwd())
    return {
        "recipe": loaded.name,
        "md5": built.ref.md5,
        "path": str(built.ref.path),
        "changed": built.changed,
        "pushed": built.pushed,
    }


@flow(name="ingest", flow_run_name="{recipe}")
def ingest(recipe: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Builds a recipe's dataset and emits an event if that made a new version."""
    built = build(recipe, overrides or [])
    if built["changed"]:
        emit_event(event=CHANGED, resource={"prefect.resource.id": resource(built["recipe"])}, payload=built)
    return built
