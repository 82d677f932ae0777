"""From votes to a model as a Prefect flow: what reviewers said becomes a dataset version, and a recipe trains on it.

The version that comes of it passes the gate like any other: where the recipe asks for votes, it stays a candidate until
reviewers have met it in the arena and `lapidar feedback votes` has added what they said to its evidence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import deployment

from components.config import MethodConfig
from components.data import prepare, versions
from components.recipe import Recipe
from components.settings import Settings
from flows.deployments import CHANGED, resource
from flows.lock import home_lock
from flows.pipeline import WAIT_SECONDS, pipeline


@task(name="feedback", cache_policy=NO_CACHE)
def dataset(source: MethodConfig, settings: Settings) -> dict[str, Any]:
    """Builds the dataset version of a snapshot; returns its md5, its splits' rows, and whether it is new."""
    built = versions.build(source, settings, Path.cwd())
    rows = {name: split.rows for name, split in built.ref.splits.items()}
    return {"md5": built.ref.md5, "path": str(built.ref.path), "changed": built.changed, "rows": rows}


@flow(name="feedback", flow_run_name="{recipe.name}", validate_parameters=True)
def feedback(recipe: Recipe, only_if_new: bool = False) -> dict[str, Any]:
    """Builds a recipe's dataset from what reviewers said until now, and runs the recipe on it.

    Args:
        only_if_new: runs nothing if nobody has said anything since; for a schedule.

    Returns:
        ``data`` (what was built) and ``run`` (the run's report, or None).
    """
    settings = Settings()
    settings.prepare()
    with home_lock(settings, wait=WAIT_SECONDS if deployment.id else 0.0):
        recipe = recipe.model_copy(update={"data": prepare.pinned(recipe.data, settings)})
        built = dataset(recipe.data, settings)
        if built["changed"]:
            emit_event(event=CHANGED, resource={"prefect.resource.id": resource(recipe.name)}, payload=built)
        wanted = built["changed"] or not only_if_new
        return {"data": built, "run": pipeline(recipe) if wanted else None}
