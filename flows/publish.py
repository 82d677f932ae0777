"""Prefect's artifacts: what a run shows in Prefect's own pages, and runs that a kill left open there."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from components import local_services
from flows import report
from flows.progress import Status

if TYPE_CHECKING:
    from flows.run import Run, Step

logger = logging.getLogger(__name__)


def key(*parts: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def harmless(publish: Callable[[], object]) -> None:
    """Publishes; what can't be shown now is logged, and the run goes on."""
    try:
        publish()
    except Exception as error:
        logger.warning("Prefect doesn't show everything of this run: %s", error)


def stage(run: Run, step: Step, metrics: Mapping[str, Any], output: str) -> None:
    """Summary, table of metrics and link to MLflow of one stage. Called inside the stage's task."""
    harmless(lambda: _stage(run, step, metrics, output))


def _stage(run: Run, step: Step, metrics: Mapping[str, Any], output: str) -> None:
    lines = [
        f"## {step.name} ({step.method}): {step.status}",
        f"- run `{run.id}`, recipe `{run.recipe.name}`, {step.seconds:.1f} s",
        f"- key `{step.key}`",
        f"- digest `{step.digest}`",
        f"- output `{output}`",
    ]
    create_markdown_artifact("\n".join(lines), key=key(step.name, "summary"))
    if step.status is Status.CACHED:
        return
    if rows := report.table(metrics):
        create_table_artifact(rows, key=key(step.name, "metrics"))
    _link(run, step.name)


def whole(run: Run, markdown: str) -> None:
    """Summary of the run and link to MLflow. Called inside the flow."""
    harmless(lambda: create_markdown_artifact(markdown, key=key(run.recipe.name, "summary")))
    harmless(lambda: _link(run, None))


def evaluation(name: str, markdown: str) -> None:
    """Scores of an evaluation. Called inside the flow."""
    create_markdown_artifact(markdown, key=key(name, "scores"))


def _link(run: Run, name: str | None) -> None:
    address = run.settings.tracking_uri or local_services.address(run.settings, "mlflow", planned=True)
    if address is None or not address.startswith("http"):
        return
    found = run.tracker.mlflow_run_id(name, timeout=2.0)
    if found is None:
        return
    link = f"{address}/#/experiments/{run.tracker.experiment_id}/runs/{found}"
    text = f"MLflow: {name or run.recipe.name}"
    create_link_artifact(link, link_text=text, key=key(name or run.recipe.name, "mlflow"), description="served by `lapidar up`")


def close_killed(runs: list[dict[str, Any]]) -> None:
    """Tells Prefect of runs whose process was killed, so that they don't stay Running for ever."""
    with get_client(sync_client=True) as client:
        for killed in runs:
            try:
                found = client.read_flow_run(UUID(killed["prefect"]))
            except ObjectNotFound:
                found = None
            if found is not None and found.state is not None and not found.state.is_final():
                client.set_flow_run_state(found.id, Crashed(message="the process was killed"), force=True)
                logger.info("Prefect's run %s is marked as crashed: its process was killed", found.name)
            Path(killed["folder"], "run.json").unlink()
