"""Recipes that the local services run on their own: on a schedule, or when their dataset has a new version.

A deployment of ``flows.pipeline.pipeline`` carries the resolved recipe as its parameter. ``--on-new-data`` adds one of
``flows.ingest.ingest`` that looks for new data every few minutes, and an automation that starts the pipeline on its event;
``lapidar data build`` sends the same event. Sample of what is listed::

    {"name": "quickstart", "when": "0 3 * * * (UTC)", "paused": false, "next": "2026-11-24T03:00:00+00:00",
     "last": {"state": "Completed", "at": "2026-11-23T03:00:09+00:00"}}
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import local_services
from components import recipe as recipes
from components.errors import InputError
from components.recipe import Recipe
from components.settings import Settings
from components.suites import Evaluation
from flows import server, services

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

CHANGED = "lapidar.dataset.changed"
_TAG = "lapidar"
_POLL = timedelta(minutes=5)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SIZES = {86400: "d", 3600: "h", 60: "m", 1: "s"}
_LEAST, _MOST = timedelta(seconds=5), timedelta(days=365)


@dataclass(frozen=True)
class When:
    """When a deployment runs: one of the three."""

    cron: str | None = None
    every: timedelta | None = None
    on_new_data: bool = False


def interval(text: str) -> timedelta:
    """An interval written as ``90s``, ``15m``, ``6h`` or ``1d``.

    Raises:
        InputError: if it is written in another way, too short, or too long.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if match is None:
        raise InputError(f"--every {text!r} isn't an interval; write a whole number and a unit: 90s, 15m, 6h, 1d")
    try:
        found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        found = timedelta.max
    if found < _LEAST:
        raise InputError(f"--every {text!r} is too short; the least is {_LEAST.seconds}s")
    if found > _MOST:
        raise InputError(f"--every {text!r} is too long; the most is {_MOST.days}d")
    return found


def reproduction(version: str) -> str:
    """Name of the deployment that reruns a version."""
    return "reproduce-" + re.sub(r"[/@]", "-", version.removeprefix("models:/"))


def resource(recipe: str) -> str:
    """Name of a recipe's dataset in events."""
    return f"lapidar.dataset.{recipe}"


def announce(address: str, recipe: str, payload: dict[str, Any]) -> None:
    """Tells a Prefect server that a recipe's dataset has a new version. Doesn't import Prefect."""
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": CHANGED,
        "resource": {"prefect.resource.id": resource(recipe)},
        "payload": payload,
    }
    server.post(f"{address}/api/events", [event])


class Deployments:
    """The deployments of a home's Prefect server.

    Raises:
        InputError: if the local services don't run.
    """

    def __init__(self, settings: Settings) -> None:
        address = local_services.address(settings, "prefect")
        if address is None or not server.answers(f"{address}/api/health"):
            raise InputError(
                f"the local services of {settings.root} don't run, and they run what is scheduled; start them: `lapidar up`"
            )
        server.use(settings, f"{address}/api")

    def deploy(self, recipe: Recipe, given: str, overrides: list[str], when: When, project: Path) -> dict[str, Any]:
        """Makes or replaces the deployment of a recipe; returns it as it is listed.

        Args:
            recipe: the resolved recipe, which becomes the run's parameter.
            given: the recipe as the user named it, for ``ingest``, which reads it anew each time.
            overrides: the overrides that went into it.
            when: when it runs.
            project: working folder of its runs.

        Raises:
            InputError: if the cron expression is wrong.
        """
        from prefect.events import DeploymentEventTrigger

        from flows.ingest import ingest
        from flows.pipeline import pipeline

        schedule = _cron(when)
        trigger = DeploymentEventTrigger(
            name=f"{recipe.name} on new data",
            expect={CHANGED},
            match={"prefect.resource.id": resource(recipe.name)},
        )
        self.remove(recipe.name, missing_ok=True)
        self._apply(
            pipeline,
            recipe.name,
            project,
            schedule=schedule,
            interval=when.every,
            triggers=[trigger] if when.on_new_data else [],
            parameters={"recipe": recipe.dump()},
        )
        if when.on_new_data:
            path = given if given in recipes.builtin() else str(recipes.find(given).absolute())
            self._apply(ingest, recipe.name, project, interval=_POLL, parameters={"recipe": path, "overrides": overrides})
        return next(found for found in self.scheduled() if found["name"] == recipe.name)

    def deploy_evaluation(self, asked: Evaluation, against: Evaluation | None, when: When, project: Path) -> dict[str, Any]:
        """Makes or replaces the deployment ``evaluate-<suite>``; an alias that has moved is another model each time.

        Raises:
            InputError: if the cron expression is wrong.
        """
        from flows.evaluate import evaluate

        parameters = {"evaluation": asked.dump(), "against": against.dump() if against is not None else None}
        return self._schedule(evaluate, f"evaluate-{asked.name}", when, project, parameters)

    def deploy_feedback(self, recipe: Recipe, when: When, project: Path) -> dict[str, Any]:
        """Makes or replaces the deployment ``feedback-<recipe>``, which runs where reviewers have said something new.

        Raises:
            InputError: if the cron expression is wrong.
        """
        from flows.feedback import feedback

        parameters = {"recipe": recipe.dump(), "only_if_new": True}
        return self._schedule(feedback, f"feedback-{recipe.name}", when, project, parameters)

    def reproduce(self, version: str, when: When, project: Path) -> dict[str, Any]:
        """Makes or replaces the deployment that reruns a registered version; returns it as it is listed.

        Args:
            version: ``models:/name/version`` or ``models:/name@alias``, which is looked up anew each time.

        Raises:
            InputError: if the cron expression is wrong.
        """
        from flows.reproduce import reproduce

        return self._schedule(reproduce, reproduction(version), when, project, {"version": version})

    def _schedule(self, flow: Any, name: str, when: When, project: Path, parameters: dict[str, Any]) -> dict[str, Any]:
        """Puts a flow in the place of a deployment of that name."""
        schedule = _cron(when)
        self.remove(name, missing_ok=True)
        self._apply(flow, name, project, schedule=schedule, interval=when.every, parameters=parameters)
        return next(found for found in self.scheduled() if found["name"] == name)

    def scheduled(self) -> list[dict[str, Any]]:
        """What is scheduled, by name."""
        with _client() as client:
            found = [each for each in _ours(client) if "ingest" not in (each.entrypoint or "")]
            automations = {each.id: client.read_resource_related_automations(f"prefect.deployment.{each.id}") for each in found}
            listed = [_described(client, each, bool(automations[each.id])) for each in found]
        return sorted(listed, key=lambda each: str(each["name"]))

    def pause(self, name: str) -> None:
        """Stops the schedule of a deployment until it is deployed again; a run that goes on isn't ended.

        Raises:
            InputError: if there is none of that name; names the nearest.
        """
        with _client() as client:
            for each in self._named(client, name):
                client.pause_deployment(each.id)
                for automation in client.read_resource_related_automations(f"prefect.deployment.{each.id}"):
                    client.pause_automation(automation.id)

    def remove(self, name: str, missing_ok: bool = False) -> None:
        """Deletes a deployment with its automation and its runs that haven't begun.

        Raises:
            InputError: if there is none of that name, unless ``missing_ok``; names the nearest.
        """
        with _client() as client:
            for each in self._named(client, name, missing_ok):
                client.delete_resource_owned_automations(f"prefect.deployment.{each.id}")
                client.delete_deployment(each.id)

    def _apply(self, flow: Any, name: str, project: Path, **options: Any) -> None:
        from prefect.types.entrypoint import EntrypointType

        flow.to_deployment(
            name,
            work_pool_name=services.POOL,
            job_variables={"working_dir": str(project)},
            entrypoint_type=EntrypointType.MODULE_PATH,
            tags=[_TAG],
            paused=False,
            **options,
        ).apply()

    def _named(self, client: SyncPrefectClient, name: str, missing_ok: bool = False) -> list[DeploymentResponse]:
        ours = _ours(client)
        found = [each for each in ours if each.name == name]
        if not found and not missing_ok:
            known = sorted({each.name for each in ours})
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"scheduled are {', '.join(known) or 'none'}"
            raise InputError(f"nothing named {name!r} is scheduled; {hint}")
        return found


def _cron(when: When) -> Any | None:
    """Prefect's schedule of a cron expression. Prefect takes one whose day never comes, and then only its server's log says so."""
    from prefect._vendor.croniter.croniter import croniter
    from prefect.schedules import Cron

    if when.cron is None:
        return None
    try:
        schedule = Cron(when.cron, timezone="UTC")
    except ValueError as error:
        raise InputError(f'--cron {when.cron!r} isn\'t a cron expression; write five fields, e.g. "0 3 * * *"') from error
    try:
        croniter(when.cron).get_next()  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise InputError(f"--cron {when.cron!r} names a day that never comes; correct its day or its month") from error
    return schedule


def _client() -> SyncPrefectClient:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _ours(client: SyncPrefectClient) -> list[DeploymentResponse]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    return client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG])))


def _described(client: SyncPrefectClient, found: DeploymentResponse, on_new_data: bool) -> dict[str, Any]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    def run(sort: FlowRunSort, *types: StateType) -> Any | None:
        wanted = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[found.id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))),
        )
        return next(iter(client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=1)), None)

    waiting = run(FlowRunSort.EXPECTED_START_TIME_ASC, StateType.SCHEDULED)
    last = run(FlowRunSort.EXPECTED_START_TIME_DESC, *(set(StateType) - {StateType.SCHEDULED, StateType.PENDING}))
    return {
        "name": found.name,
        "id": str(found.id),
        "when": "; ".join(_schedule(each.schedule) for each in found.schedules) or ("on new data" if on_new_data else "never"),
        "paused": bool(found.paused),
        "next": _iso(waiting.expected_start_time) if waiting and not found.paused else None,
        "last": {"state": last.state.name, "at": _iso(last.start_time or last.expected_start_time), "run": str(last.id)}
        if last
        else None,
    }


def _schedule(schedule: Any) -> str:
    if (cron := getattr(schedule, "cron", None)) is not None:
        return f"{cron} ({schedule.timezone or 'UTC'})"
    seconds = int(schedule.interval.total_seconds())
    unit = next(size for size in _SIZES if seconds % size == 0)
    return f"every {seconds // unit}{_SIZES[unit]}"


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time is not None else None
