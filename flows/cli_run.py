"""``lapidar run``: starts what the flow needs while it imports, runs the flow, prints the summary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from components import graph, launch
from components import recipe as recipes
from components.data import needs, versions
from components.importing import uncollected
from components.models.resolve import NotFetched, resolve
from components.recipe import Recipe
from components.settings import Settings
from components.store import Store
from flows import output, progress, server, services, stages
from flows.lock import home_lock

DONE, GATE_NOT_PASSED = 0, 3


def run(recipe: str, overrides: list[str], start: str | None, until: str | None) -> int:
    """Runs a recipe and prints its summary; returns the exit code."""
    settings, loaded = Settings(), recipes.load(recipe, overrides)
    selection = stages.select(graph.build(loaded), start, until)
    with prefect_run(settings) as ready:
        if _must_run(loaded, selection, settings):
            threading.Thread(target=launch.warm_up, daemon=True).start()
        from flows.pipeline import pipeline

        ready()
        report = pipeline(loaded, start, until)
    if output.is_json():
        output.document(report)
    return shown(report, settings)


@contextmanager
def prefect_run(settings: Settings) -> Iterator[Callable[[], None]]:
    """Holds the home while a flow runs; what it yields waits until Prefect is there. Imports go on meanwhile."""
    with home_lock(settings), services.prefect(settings) as wait, listening(), ExitStack() as imports:
        imports.enter_context(uncollected())

        def ready() -> None:
            server.quiet_console()
            import mlflow  # noqa: F401  (takes a second, while the server starts; the tracker needs it)

            imports.close()
            wait()

        yield ready
    launch.cool_down()


def shown(report: dict[str, Any], settings: Settings) -> int:
    """Prints a run's summary for people; returns the exit code."""
    from flows import summary

    summary.show(report, settings, output.people())
    return GATE_NOT_PASSED if report["registers"] and report["gate"]["verdict"] != "pass" else DONE


@contextmanager
def listening() -> Iterator[None]:
    """Shows progress: a live table on a terminal, else lines."""
    stream = output.people()
    shown = progress.Live(stream) if stream.isatty() else progress.Plain(stream)
    progress.listen(shown)
    try:
        yield
    finally:
        shown.close()


def _must_run(recipe: Recipe, selection: stages.Selection, settings: Settings) -> bool:
    """Whether a stage will run, as far as can be said before the run: then the imports of its process begin now.

    Raises:
        InputError: if the data or the base model is wrong, before anything is made.
    """
    data = versions.find(recipe.data, settings, Path.cwd())
    needs.check_fewshot(recipe, data)
    stored = needs.need(needs.measured(recipe), settings)
    try:
        source = resolve(recipe.model, settings, fetch=False)
    except NotFetched:
        return False  # the run fetches it first
    if data is None:
        return True
    store = Store(settings.stages, settings.store)
    sealed, _ = graph.lookup(graph.build(recipe), recipe, data, {"source": source} if source else {}, store, settings, stored)
    return any(node.name not in sealed or node.name in selection.forced for node in selection.nodes)
