"""One run of a recipe: what it works on, what it has so far, and who hears of it. The tasks move it forward.

``runs/<id>/run.json`` names the process and Prefect's run while it goes on; ``report.json`` is its end. A run whose process
is gone and that has no report was killed: the next one says so to Prefect (``killed_runs``), the tracker to MLflow.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from components import graph, local_services, methods
from components.artifacts import BenchmarkRef, DatasetRef, ModelRef, Sealed
from components.data import prepare
from components.errors import LapidarError
from components.graph import Node
from components.recipe import Recipe
from components.settings import Settings, device_class
from components.store import Store
from components.tracking import Tracker
from flows import progress, provenance, report, stages
from flows.memory import PeakMemory
from flows.progress import Status
from flows.registration import Upload

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A stage that is done: what the report says of it."""

    name: str
    method: str
    key: str
    status: Status
    seconds: float
    digest: str = ""


@dataclass(frozen=True)
class Registration:
    """What came of registering: the version and the gate's verdict, JSON-ready."""

    version: dict[str, Any]
    gate: dict[str, Any]


class Run:
    """State of one run. A context manager: leaving it writes the report, which is its ``outcome`` then, and ends the tracking,
    whatever happened.

    Args:
        start: stage that runs again with all that follows from it, also if it is cached.
        until: last stage to run.

    Raises:
        InputError: if the recipe has no stage ``start`` or ``until``, or the one lies before the other.

    """

    def __init__(self, recipe: Recipe, start: str | None = None, until: str | None = None) -> None:
        self.settings, self.project = Settings(), Path.cwd()
        if recipe.data is not None:  # evaluations of models that exist have none
            recipe = recipe.model_copy(update={"data": prepare.pinned(recipe.data, self.settings)})
        self.recipe, self.graph = recipe, graph.build(recipe)
        selection = stages.select(self.graph, start, until)
        self.nodes, self.forced = selection.nodes, selection.forced
        self.verifies = recipe.register_ is not None and selection.verifies
        self.registers = recipe.register_ is not None and selection.whole
        self.store = Store(self.settings.stages, self.settings.store)
        self.id = f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self.folder = self.settings.runs / self.id
        self.listener = progress.listener()
        self.data: DatasetRef | None = None
        self.outside: dict[str, ModelRef] = {}
        self.benchmarks: dict[str, BenchmarkRef] = {}
        self.found: dict[str, Sealed] = {}
        self.sealed: dict[str, Sealed] = {}
        self.steps: list[Step] = []
        self.upload: Upload | None = None
        self.registration: Registration | None = None
        self.error: BaseException | None = None
        self.outcome: dict[str, Any] = {}
        self.prefect_id: str | None = None
        self._facts: dict[str, Any] = {}
        self._tracked: set[str] = set()
        self._aside = ThreadPoolExecutor(1, "lapidar-publish")

    def __enter__(self) -> Run:
        self._began = time.perf_counter()
        self.folder.mkdir(parents=True)
        self._log = logging.FileHandler(self.folder / "log.txt", encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self._log)
        self.memory = PeakMemory()
        (self.folder / "recipe.json").write_text(json.dumps(self.recipe.dump(), indent=1) + "\n", encoding="utf-8")
        self.tracker = Tracker(self.settings, local_services.address(self.settings, "mlflow"), self.id)
        code = provenance.code()
        self._facts = {"code.revision": code.revision, "code.clean": code.clean, "lock": code.lock, "run": self.id}
        self.tracker.start(self.recipe.name, params=self.recipe.dump(), tags=self._facts)
        self.tracker.artifact("recipe.json", self.folder / "recipe.json")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.error = error
        self._aside.shutdown()
        self.seconds = round(time.perf_counter() - self._began, 3)
        self.peak_rss_mb = self.memory.stop()
        try:
            content = self.outcome = report.build(self)
            local_services.write(self.folder / "report.json", content)
            self.tracker.artifact("report.json", self.folder / "report.json")
            self._headline(content)
            self.tracker.end(status="finished" if error is None else "failed", seconds=self.seconds)
        except Exception as lost:
            if error is None:
                raise
            logger.warning("the report of a failed run couldn't be written: %s", lost)  # what went wrong first has to be heard
        finally:
            self.tracker.close()
            logging.getLogger().removeHandler(self._log)
            with suppress(OSError):
                self._log.close()

    def _headline(self, content: Mapping[str, Any]) -> None:
        """What tables of runs show and filter by: scores of the last evaluation, verdict, version; groups stay with their stage."""
        if scored := list(report.evaluations(self).values()):
            whole = {name: {m: v for m, v in found.items() if "@" not in m} for name, found in scored[-1].items()}
            self.tracker.report(None, whole)
        version = content["version"]
        named = {"version": f"models:/{version['name']}/{version['version']}"} if version else {}
        self.tracker.tags({"gate": content["gate"]["verdict"], "peak_rss_mb": self.peak_rss_mb, **named})

    def aside(self, action: Callable[[], object]) -> Future[object]:
        """Does something in the order given, beside the run, which doesn't wait: what it tells Prefect of its stages."""
        return self._aside.submit(copy_context().run, action)

    @property
    def uploaded(self) -> Upload:
        """The weights in the registry, once they are there."""
        if self.upload is None:
            raise LapidarError("the weights of this run aren't in the registry yet")
        return self.upload

    def names(self, prefect_id: str) -> None:
        """Notes Prefect's id of this run, so that a later run can close it if this one is killed."""
        self.prefect_id = prefect_id
        content = {"id": self.id, "prefect": prefect_id, "recipe": self.recipe.name}
        local_services.write(self.folder / "run.json", content)
        self._fact("prefect.run", prefect_id)

    def works_on(self, data: DatasetRef) -> None:
        """The dataset version is there."""
        self.data = data
        self.tracker.dataset(data)
        self._fact("data.md5", data.md5)

    def look_up(self) -> bool:
        """Finds what is sealed already; returns whether a stage has to run."""
        self.found, _ = graph.lookup(self.graph, self.recipe, self.data, self.outside, self.store, self.settings, self.benchmarks)
        return any(node.name not in self.found or node.name in self.forced for node in self.nodes)

    def key(self, node: Node) -> tuple[Any, str]:
        """(inputs, key) of a stage whose inputs are there."""
        given = graph.inputs(node, self.data, self.sealed, self.outside, self.benchmarks)
        return given, graph.key(node, given, self.recipe.seed, self.settings)

    def began(self, name: str, method: str, key: str | None, config: Mapping[str, Any]) -> None:
        """A stage starts to run. The data's key is its md5, which nobody knows before they are there."""
        self._track(name, method, key, config)
        self.listener.started(name, method)

    def heard(self, name: str, events: list[dict[str, Any]]) -> None:
        """A running stage said something."""
        self.tracker.log_stage_events(name, events)
        self.listener.events(name, events)

    def failed(self, name: str, method: str, seconds: float) -> None:
        """A stage ended without an output."""
        self.tracker.end(name, status="failed", seconds=seconds)
        self.listener.ended(name, method, Status.FAILED, seconds)

    def done(self, step: Step, metrics: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> None:
        """A stage has its output."""
        self.steps.append(step)
        if step.name not in self._tracked:
            self._track(step.name, step.method, step.key, config or {})
        self.tracker.tags({"stage.key": step.key, "stage.digest": step.digest, "stage.status": step.status}, stage=step.name)
        self.tracker.report(step.name, metrics)
        self.tracker.end(step.name, status="cached" if step.status is Status.CACHED else "ran", seconds=step.seconds)
        self.listener.ended(step.name, step.method, step.status, step.seconds)

    def _fact(self, name: str, value: str) -> None:
        """Something that the run and every stage that begins from now on carry in the tracker."""
        self._facts[name] = value
        self.tracker.tags({name: value})

    def _track(self, name: str, method: str, key: str | None, config: Mapping[str, Any]) -> None:
        """Begins a stage's nested run, which carries by itself what it was made with."""
        self._tracked.add(name)
        tags = {**self._facts, "stage.method": method} | ({"stage.key": key} if key is not None else {})
        self.tracker.start(name, stage=name, params=config, tags=tags)

    def record(self, node: Node, given: Any, seconds: float, peak_rss_mb: float) -> dict[str, Any]:
        """What a sealed output's manifest says about how it was made."""
        code = provenance.code()
        return {
            "name": node.name,
            "config": node.config.model_dump(mode="json"),
            "inputs": graph.input_digests(node, given),
            "seed": self.recipe.seed,
            "device": device_class(self.settings),
            "code": methods.code_digest(*node.modules),
            "versions": methods.versions(*node.modules),
            "revision": code.revision,
            "clean": code.clean,
            "seconds": round(seconds, 3),
            "peak_rss_mb": round(peak_rss_mb, 1),
            "time": time.time(),
            "run": self.id,
        }


def killed_runs(settings: Settings, living: str) -> list[dict[str, Any]]:
    """Runs of this home that were killed: known to Prefect and without an end. Call with the home's lock held."""
    found = []
    for file in sorted(settings.runs.glob("*/run.json")):
        if file.parent.name != living and not (file.parent / "report.json").exists():
            with suppress(ValueError):  # a full disk has left it empty: nobody knows Prefect's run
                found.append({**json.loads(file.read_bytes()), "folder": str(file.parent)})
    return found
