"""``lapidar evaluate``: what it will measure and can show, the run, the scores."""

from __future__ import annotations

import threading
from pathlib import Path

from components import launch, suites
from components.benchmarks import _stored
from components.data import needs, versions
from components.errors import InputError
from components.models.resolve import resolve
from components.settings import Settings
from components.suites import Evaluation
from flows import cli_deploy, deployments, output, scores
from flows.cli_run import prefect_run


def evaluate(model: str, suite: str, overrides: list[str], against: str | None, again: bool) -> None:
    """Measures a model, perhaps beside another, and prints the scores."""
    settings, asked = Settings(), suites.load(model, suite, overrides)
    settings.prepare()
    other = suites.load(against, suite, overrides) if against is not None else None
    with prefect_run(settings) as ready:
        items = _items(asked, settings)
        for each in (asked, other):
            _check_model(each, settings)
        for line in scores.before(asked, items):
            print(line, file=output.people(), flush=True)
        threading.Thread(target=launch.warm_up, daemon=True).start()
        from flows import evaluate as flow

        ready()
        found = flow.evaluate(asked, other, again)
    scores.show(found, output.people())
    if output.is_json():
        output.document(found)


def schedule(model: str, suite: str, overrides: list[str], against: str | None, cron: str | None, every: str | None) -> None:
    """Has the local services measure a model again and again, and prints what is scheduled."""
    if cron is not None and every is not None:
        raise InputError("say --cron or --every, not both")
    settings, asked = Settings(), suites.load(model, suite, overrides)
    _items(asked, settings)
    other = suites.load(against, suite, overrides) if against is not None else None
    when = deployments.When(cron, deployments.interval(every) if every is not None else None)
    known = cli_deploy.connect()
    document = known.deploy_evaluation(asked, other, when, Path.cwd())
    if output.is_json():
        output.document(document)
        return
    print(cli_deploy.line(document), file=output.people())


def _items(asked: Evaluation, settings: Settings) -> dict[str, int | None]:
    """Number of items by benchmark; None where the dataset isn't built yet.

    Raises:
        InputError: if a benchmark's data isn't there, before anything runs.
    """
    chosen = needs.measured(asked)
    stored = needs.need(chosen, settings)
    data = versions.find(asked.data, settings, Path.cwd()) if asked.data is not None else None
    needs.check_fewshot(asked, data)
    found: dict[str, int | None] = {}
    for config in chosen:
        limit = config.limit  # type: ignore[attr-defined]
        if (name := config.stored()) in stored:  # type: ignore[attr-defined]
            count: int | None = _stored.about(stored[name])["items"]
        elif asked.data is None:
            raise InputError(
                f"benchmark {config.method!r} reads a dataset's held-out split: give a suite with a 'data' section, or a recipe"
            )
        else:
            count = data.splits["heldout"].rows if data is not None and "heldout" in data.splits else None
        found[config.label] = count if count is None or limit is None else min(limit, count)  # type: ignore[attr-defined]
    return found


def _check_model(asked: Evaluation | None, settings: Settings) -> None:
    """A wrong folder or version is told before anything starts; endpoints are asked by the stage."""
    if asked is not None and asked.evaluate.method != "endpoint":
        resolve(asked.model, settings)
