"""One Prefect task a stage: look the output up, else run the stage in a child process and seal what it made."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from components import launch
from components.artifacts import Sealed
from components.data import needs, versions
from components.errors import StageKilled
from components.graph import Node
from components.models.resolve import resolve
from components.settings import device_class
from flows import publish, registration
from flows.progress import Status
from flows.run import Registration, Run, Step, killed_runs
from flows.stages import DATA, REGISTER

logger = logging.getLogger(__name__)
_PROGRESS_SECONDS = 5.0


def _was_killed(task: Any, task_run: Any, state: Any) -> bool:
    """A killed child goes on from its checkpoint, once. Whatever else failed would fail again."""
    return isinstance(state.result(raise_on_failure=False), StageKilled)


@task(name="begin", cache_policy=NO_CACHE)
def begin(run: Run) -> None:
    """Names the run to Prefect, and closes runs there whose process was killed."""
    run.names(str(flow_run.id))
    publish.close_killed(killed_runs(run.settings, run.id))


@task(name="data", cache_policy=NO_CACHE)
def dataset(run: Run) -> str:
    """Makes sure that the recipe's dataset version is there; returns its md5."""
    source, began = run.recipe.data, time.perf_counter()
    config = source.model_dump(mode="json")
    found, status = versions.find(source, run.settings, run.project), Status.CACHED
    if found is None:
        run.began(DATA, source.method, None, config)
        try:
            found, status = versions.ensure(source, run.settings, run.project), Status.RAN
        except BaseException:
            run.failed(DATA, source.method, _since(began))
            raise
    run.works_on(found)
    rows = {f"rows.{name}": split.rows for name, split in found.splits.items()}
    step = Step(DATA, source.method, found.md5, status, _since(began), found.md5)
    run.done(step, rows, config)
    run.aside(lambda: publish.stage(run, step, rows, str(found.path)))
    return found.md5


@task(name="look up", cache_policy=NO_CACHE)
def look_up(run: Run) -> list[str]:
    """Fetches the base model if it isn't trained here, and finds what is sealed; returns the names of these stages.

    Benchmarks' own data is only looked for: a benchmark that has none says how to get it.
    """
    run.benchmarks = needs.need(needs.measured(run.recipe), run.settings)
    if run.graph.nodes[0].models and (source := resolve(run.recipe.model, run.settings)) is not None:
        run.outside["source"] = source
    if run.look_up():
        threading.Thread(target=launch.warm_up, daemon=True).start()  # it returns when the imports are done
    return sorted(run.found)


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=1, retry_condition_fn=_was_killed)
def stage(run: Run, name: str) -> str:
    """Output of one stage, from the store or from a child process; returns its digest."""
    return _output(run, run.graph.node(name))


@task(name="upload", cache_policy=NO_CACHE)
def upload(run: Run) -> str:
    """Puts the weights into the registry, unless they are there; returns their digest."""
    run.upload = registration.upload(run)
    return run.upload.digest


@task(name="verify", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=1, retry_condition_fn=_was_killed)
def verify(run: Run) -> str:
    """Compares the model before and behind every hand-over, the copy from the registry among them."""
    node = registration.verify_node(run, run.uploaded)
    try:
        return _output(run, node, lambda: registration.fetch(run, run.uploaded))
    finally:
        registration.forget(run)


@task(name="register", cache_policy=NO_CACHE)
def register(run: Run) -> str:
    """Decides on the gate, makes the version and moves its aliases; returns the version's URI."""
    began = time.perf_counter()
    version, gate, cached = registration.register(run, run.uploaded)
    shown = {
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        "aliases": version.aliases,
        "uri": version.uri,
    }
    run.registration = Registration(shown, gate.to_dict())
    status = Status.CACHED if cached else Status.RAN
    step = Step(REGISTER, "mlflow", version.digest, status, _since(began), version.digest)
    run.done(step, {}, registration.config(run).model_dump(mode="json"))
    run.aside(lambda: publish.stage(run, step, {}, version.uri))
    return version.uri


def _output(run: Run, node: Node, prepare: Callable[[], None] = lambda: None) -> str:
    """Output of a stage, from the store or from a child process; returns its digest."""
    given, key = run.key(node)
    config = node.config.model_dump(mode="json")
    sealed = run.found.get(node.name)
    if sealed is None or sealed.key != key:
        sealed = run.store.open(node.section, node.method, key)
    began, status = time.perf_counter(), Status.CACHED
    if sealed is None or node.name in run.forced:
        prepare()
        sealed, status = _execute(run, node, given, key, config, sealed), Status.RAN
    run.sealed[node.name] = sealed
    step = Step(node.name, node.method, key, status, _since(began), sealed.digest)
    run.done(step, sealed.metrics, config)
    run.aside(lambda: publish.stage(run, step, sealed.metrics, str(sealed.path)))
    return sealed.digest


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)


def _execute(run: Run, node: Node, given: Any, key: str, config: dict[str, Any], before: Sealed | None) -> Sealed:
    """Runs a stage in a child process and seals its output."""
    work = run.settings.work / node.section / key
    device = device_class(run.settings)
    job = launch.Job(node.section, node.method, config, given, run.recipe.seed, device, work, run.settings.threads)
    run.began(node.name, node.method, key, config)
    began = time.perf_counter()
    progress = _Progress(run, node.name)

    def heard(events: list[dict[str, Any]]) -> None:
        run.heard(node.name, events)
        progress.heard(events)

    try:
        outcome = launch.run(job, heard)
    except BaseException:
        run.failed(node.name, node.method, _since(began))
        raise
    if before is not None:
        _compare(run, node, before, job)
    sealed = run.store.seal(node.section, node.method, key, job.out, run.record(node, given, outcome.seconds, outcome.peak_rss_mb))
    launch.discard(job)
    progress.finish()
    return sealed


def _compare(run: Run, node: Node, before: Sealed, job: launch.Job) -> None:
    """After a forced rerun: an equal output keeps the old one; another one replaces it, with a warning."""
    if (different := run.store.make_room(before, job.out)) is None:
        run.listener.note(f"{node.name}: ran again with the same output ({before.digest[:12]})")
        return
    message = f"{node.name} isn't reproducible: {different}"
    logger.warning(message)
    run.listener.note(f"warning: {message}")


class _Progress:
    """Prefect's progress artifact of a running stage, updated every few seconds."""

    def __init__(self, run: Run, name: str) -> None:
        self._run, self._said = run, time.monotonic()
        key, description = publish.key(name, "progress"), f"progress of {name}"
        self._artifact = run.aside(lambda: create_progress_artifact(0.0, key=key, description=description))

    def heard(self, events: list[dict[str, Any]]) -> None:
        """Takes in a stage's events."""
        steps = [e for e in events if e["kind"] == "progress" and e["total"]]
        if steps and time.monotonic() - self._said > _PROGRESS_SECONDS:
            self._update(min(100.0, 100.0 * steps[-1]["done"] / steps[-1]["total"]))

    def finish(self) -> None:
        """The stage is done."""
        self._update(100.0)

    def _update(self, percent: float) -> None:
        self._said = time.monotonic()
        self._run.aside(lambda: publish.harmless(lambda: update_progress_artifact(self._artifact.result(), percent)))  # type: ignore[arg-type]
