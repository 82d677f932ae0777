"""What Prefect knows and does, over its REST API: deployments, runs, queues, slots, logs. Never imports Prefect.

The pages that ask run beside whatever they show, so every question has a time limit, and a server that is down is a sentence
with a remedy. Sample: ``Orchestrator("http://127.0.0.1:4200").runs(limit=20)[0]["state"]["type"]`` is ``"RUNNING"``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import httpx

from components import local_services
from components.errors import LapidarError
from components.settings import Settings

Record = dict[str, Any]
Wanted = Literal["active", "waiting", "paused", "failed", "all"]
STATES: dict[str, list[str]] = {
    "active": ["RUNNING", "PENDING", "PAUSED", "CANCELLING"],
    "waiting": ["SCHEDULED"],
    "paused": ["PAUSED"],
    "failed": ["FAILED", "CRASHED"],
    "all": [],
}
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_BUSY = 503  # nothing was done, and the same question may be asked again: Prefect's database is locked for a moment
_WAITS = (0.1, 0.4, 1.0)  # seconds


class OrchestratorDown(LapidarError):
    """Prefect's server doesn't answer."""


class Orchestrator:
    """Prefect's server at an address (without ``/api``).

    Args:
        seconds: how long an answer may take.

    Raises (every method):
        OrchestratorDown: if the server can't be reached in time.
        LapidarError: if it refuses; with its own words.
    """

    def __init__(self, address: str, seconds: float = 5.0) -> None:
        self.address, self._seconds = address.rstrip("/"), seconds

    def deployments(self) -> list[Record]:
        """All deployments by name, with ``schedules``, ``paused``, ``parameters`` and ``parameter_openapi_schema``."""
        return self._all("/deployments/filter", {"sort": "NAME_ASC"})

    def runs(self, wanted: Wanted = "all", offset: int = 0, limit: int = 20) -> list[Record]:
        """Flow runs, the newest first; those that wait by their turn."""
        sort = "EXPECTED_START_TIME_ASC" if wanted == "waiting" else "EXPECTED_START_TIME_DESC"
        found: list[Record] = self._post("/flow_runs/filter", {**_of(wanted), "sort": sort, "offset": offset, "limit": limit})
        return found

    def count(self, wanted: Wanted = "all") -> int:
        """How many flow runs there are."""
        return int(self._post("/flow_runs/count", _of(wanted)))

    def run(self, run: str) -> Record:
        """One flow run."""
        found: Record = self._ask("GET", f"/flow_runs/{run}")
        return found

    def steps(self, run: str) -> list[Record]:
        """A flow run's tasks in the order in which they began."""
        return self._all("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"})

    def logs(self, run: str, offset: int = 0, limit: int = 100) -> list[Record]:
        """Lines of a flow run's log, oldest first: ``timestamp, level, name, message``."""
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "offset": offset, "limit": limit}
        found: list[Record] = self._post("/logs/filter", body)
        return found

    def pools(self) -> list[Record]:
        """Work pools, each with its ``queues`` and ``workers``."""
        pools: list[Record] = self._post("/work_pools/filter", {})
        for pool in pools:
            pool["queues"] = self._post(f"/work_pools/{pool['name']}/queues/filter", {})
            pool["workers"] = self._post(f"/work_pools/{pool['name']}/workers/filter", {})
        return pools

    def slots(self) -> list[Record]:
        """Global concurrency limits (GPU slots are such limits): ``name, limit, active_slots``."""
        found: list[Record] = self._post("/v2/concurrency_limits/filter", {})
        return found

    def start(self, deployment: str, parameters: Mapping[str, Any]) -> Record:
        """Starts a deployment with parameters that take the place of its own."""
        found: Record = self._post(f"/deployments/{deployment}/create_flow_run", {"parameters": dict(parameters)})
        return found

    def pause_schedule(self, deployment: str, paused: bool) -> None:
        """Stops the schedule of a deployment, or lets it go on; runs that go on aren't touched."""
        self._post(f"/deployments/{deployment}/{'pause' if paused else 'resume'}_deployment", {})

    def cancel(self, run: Mapping[str, Any]) -> None:
        """Ends a flow run: at once where it hasn't begun, else by its worker."""
        kind = "CANCELLING" if run["state"]["type"] in ("RUNNING", "PENDING") else "CANCELLED"
        self._set(run["id"], {"type": kind})

    def suspend(self, run: str) -> None:
        """Holds a flow run before its next task until somebody resumes it."""
        self._set(run, {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}})

    def resume(self, run: str) -> None:
        """Lets a held flow run go on."""
        _accepted(self._post(f"/flow_runs/{run}/resume", {}))

    def _set(self, run: str, state: Mapping[str, Any]) -> None:
        _accepted(self._post(f"/flow_runs/{run}/set_state", {"state": dict(state)}))

    def _all(self, path: str, body: Mapping[str, Any]) -> list[Record]:
        found: list[Record] = []
        for page in self._pages(path, body):
            found += page
        return found

    def _pages(self, path: str, body: Mapping[str, Any], size: int = 200) -> Iterator[Sequence[Record]]:
        offset = 0
        while True:
            page = self._post(path, {**body, "offset": offset, "limit": size})
            yield page
            if len(page) < size:
                return
            offset += size

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            with httpx.Client(timeout=self._seconds, trust_env=False) as client:
                for wait in (0.0, *_WAITS):
                    time.sleep(wait)
                    answer = client.request(method, f"{self.address}/api{path}", json=body)
                    if answer.status_code != _BUSY:
                        break
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise OrchestratorDown(f"Prefect at {self.address} doesn't answer ({why}); start it: `lapidar up`") from error
        if answer.is_error:
            raise LapidarError(f"Prefect refused {method} {path} (HTTP {answer.status_code}): {answer.text[:400]}")
        return answer.json() if answer.content else None


def connect(settings: Settings) -> Orchestrator:
    """The Prefect server of this home.

    Raises:
        OrchestratorDown: if the local services don't run.
    """
    address = local_services.address(settings, "prefect")
    if address is None:
        raise OrchestratorDown(
            f"the local services of {settings.root} don't run, so nothing is scheduled; start them: `lapidar up`"
        )
    return Orchestrator(address)


def schedules(deployment: Mapping[str, Any]) -> list[str]:
    """A deployment's schedules in words: ``0 3 * * * (UTC)``, ``every 900 s``."""
    found = []
    for each in deployment.get("schedules") or []:
        schedule = each["schedule"]
        if schedule.get("cron"):
            found.append(f"{schedule['cron']} ({schedule.get('timezone') or 'UTC'})")
        elif schedule.get("interval") is not None:
            found.append(f"every {float(schedule['interval']):g} s")
        else:
            found.append(str(schedule.get("rrule")))
    return found


def settable(parameters: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values that a form can show, by dotted name: ``recipe.sft.lr``; what the schema has and nobody set is its default."""
    given = {name: each.get("default") for name, each in (schema.get("properties") or {}).items()}
    return dict(_flat({**given, **parameters}))


def changed(parameters: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the values of dotted names put in."""
    import copy

    found: dict[str, Any] = copy.deepcopy(dict(parameters))
    for name, value in values.items():
        *path, last = name.split(".")
        inner: Any = found
        for key in path:
            inner = inner[int(key)] if isinstance(inner, list) else inner.setdefault(key, {})
        inner[int(last) if isinstance(inner, list) else last] = value
    return found


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    parts = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, inner in parts:
        name = f"{prefix}{key}"
        if isinstance(inner, (Mapping, list)) and inner:
            yield from _flat(inner, f"{name}.")
        else:
            yield name, inner


def _of(wanted: Wanted) -> Record:
    return {"flow_runs": {"state": {"type": {"any_": STATES[wanted]}}}} if STATES[wanted] else {}


def _accepted(answer: Any) -> None:
    """Prefect answers 200 also where its rules refuse."""
    status = (answer or {}).get("status")
    if status not in (None, "ACCEPT"):
        why = ((answer.get("details") or {}).get("reason")) or status
        raise LapidarError(f"Prefect didn't do it: {why}")
