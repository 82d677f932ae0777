"""Evaluates a model that exists, as a Prefect flow: the stages of an evaluation, and a comparison with a second model.

What is sealed isn't measured again, also not if a recipe's own evaluation sealed it. Its report::

    {"run": "gsm8k-…", "model": "models:/quickstart/1", "suite": "gsm8k", "seconds": 31.2,
     "benchmarks": {"gsm8k": {"metrics": {"accuracy": {…}}, "spec": {…}, "marked": ["truncated"], "reruns": {…}}},
     "comparison": {"with": "models:/quickstart@champion", "benchmarks": {"gsm8k": {…}}}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import deployment

from components.settings import Settings
from components.suites import Evaluation
from flows import publish, scores, tasks
from flows.lock import home_lock
from flows.run import Run

_WAIT_SECONDS = 3600.0


@flow(name="lapidar-evaluate", flow_run_name="{evaluation.name}", validate_parameters=True)
def evaluate(evaluation: Evaluation, against: Evaluation | None = None, again: bool = False) -> dict[str, Any]:
    """Measures a model; returns the report.

    Args:
        evaluation: model and suite.
        against: the same suite for another model, with which it is compared item by item.
        again: measure although a sealed evaluation is there: an endpoint's model may have changed behind its name.
    """
    with home_lock(Settings(), wait=_WAIT_SECONDS if deployment.id else 0.0):
        found, report = _measure(evaluation, again)
        if against is not None:
            other, _ = _measure(against, again)
            report["comparison"] = {"with": scores.model_name(against), "benchmarks": scores.compare(found, other, Settings())}
    publish.harmless(lambda: publish.evaluation(evaluation.name, scores.markdown(report)))
    return report


def _measure(evaluation: Evaluation, again: bool) -> tuple[Path, dict[str, Any]]:
    """(folder of the sealed evaluation, report) of one model."""
    with Run(evaluation, f"evaluate.{_last(evaluation)}" if again else None) as run:
        tasks.begin(run)
        if evaluation.data is not None:
            tasks.dataset(run)
        tasks.look_up(run)
        for node in run.nodes:
            tasks.stage(run, node.name)
    sealed = run.sealed[f"evaluate.{_last(evaluation)}"]
    return sealed.path, scores.report(run.outcome, evaluation, sealed.path, Settings())


def _last(evaluation: Evaluation) -> str:
    return "endpoint" if evaluation.evaluate.method == "endpoint" else "base"
