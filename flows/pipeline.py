"""The pipeline as a Prefect flow: dataset, stages, registration. Its parameters are the recipe, typed."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import deployment

from components.recipe import Recipe
from components.settings import Settings
from flows import publish, summary, tasks
from flows.lock import home_lock
from flows.run import Run

WAIT_SECONDS = 3600.0
"""How long a scheduled run waits for the one before it."""


@flow(name="lapidar", flow_run_name="{recipe.name}", validate_parameters=True)
def pipeline(recipe: Recipe, start: str | None = None, until: str | None = None) -> dict[str, Any]:
    """Runs a recipe; returns the run's report. What is sealed already isn't made again."""
    with home_lock(Settings(), wait=WAIT_SECONDS if deployment.id else 0.0), Run(recipe, start, until) as run:
        tasks.begin(run)
        tasks.dataset(run)
        tasks.look_up(run)
        for node in run.nodes:
            tasks.stage(run, node.name)
        if run.verifies:
            tasks.upload(run)
            tasks.verify(run)
        if run.registers:
            tasks.register(run)
    publish.whole(run, summary.markdown(run.outcome))
    return run.outcome
