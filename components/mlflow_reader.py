"""Reads the history of runs from MLflow, a page at a time, each question with a time limit; from the home where MLflow is down.

    history = History(settings)
    page = history.runs("metrics.`svamp.accuracy.value` > 0.5", page=1)
    detail = history.run(page.rows[0].id)
    curves = history.curves([detail], [("sft", "loss")])

The filter is MLflow's own language; a text without an operator looks for recipes whose name holds it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from components import local_services, mlflow_client, run_files, versions
from components.errors import InputError, LapidarError
from components.mlflow_client import Connection
from components.run_records import PARENT, Curve, Page, Record, RunDetail, RunRow, curve, detail, row, thinned
from components.settings import Settings
from components.versions import Version

Order = Literal["newest", "oldest", "name"]
PAGE_ROWS = 50
SECONDS = 8.0
MOST_POINTS = 2000
_MOST_STAGES = 500
_AHEAD_SECONDS = 30.0
_BESIDE = 4
"""Questions at once. More of them are slower on SQLite: each thread opens a connection of its own."""
_ORDERS = {"newest": "attributes.start_time DESC", "oldest": "attributes.start_time ASC", "name": "attributes.run_name ASC"}
_STATUS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed", "RUNNING": "running", "SCHEDULED": "running"}
_OPERATOR = re.compile(r"[<>=]|\b(?:like|ilike|in|is)\b", re.IGNORECASE)
_WHOLE_RUNS = "tags.`lapidar.stage` = 'pipeline'"
_HELP = "e.g. metrics.`gsm8k.accuracy.value` > 0.5 and params.`sft.lr` = '0.001' and tags.`lapidar.gate` = 'pass'"
Result = TypeVar("Result")


class History:
    """Runs of the tracker behind ``settings``. Keep one as long as its settings and the services' address don't change.

    Args:
        seconds: time limit of one question.
    """

    def __init__(self, settings: Settings, seconds: float = SECONDS, experiment: str = "lapidar") -> None:
        self._settings, self._seconds, self._experiment = settings, seconds, experiment
        self._address = settings.tracking_uri or local_services.address(settings, "mlflow")
        self._tokens: dict[tuple[str, str], list[str | None]] = {}
        self._connected: Connection | None = None
        self._connecting = threading.Lock()
        self._beginning = threading.Lock()
        self._begun: dict[str, tuple[float, Future[list[Record]]]] = {}
        self._pool = ThreadPoolExecutor(_BESIDE, "lapidar-history")

    @property
    def address(self) -> str | None:
        """Address of MLflow's own pages; None where it has none now."""
        return self._address if self._address and self._address.startswith("http") else None

    def runs(self, filter: str = "", page: int = 1, order: Order = "newest") -> Page[RunRow]:
        """A page of runs; those of the home if MLflow doesn't answer, with a note that says so.

        Raises:
            InputError: if the filter can't be read.
        """
        query = self.query(filter)
        if self._empty:
            return self._at_home(filter, page, None)
        try:
            found = self._ask(lambda c: self._page(c, query, page, _ORDERS[order]))
        except InputError:
            raise
        except LapidarError as error:
            return self._at_home(filter, page, str(error))
        return found if _OPERATOR.search(filter) or page > 1 or order != "newest" else self._with_new(found, filter)

    def run(self, run: str) -> RunDetail:
        """A run with its stages: from its folder if this home has it, which is newer than what MLflow says.

        Raises:
            InputError: if there is no such run.
            LapidarError: if it isn't in the home and MLflow doesn't answer.
        """
        return self.details([run])[0]

    def details(self, runs: Sequence[str]) -> list[RunDetail]:
        """Several runs, asked for beside each other, in the order given.

        Raises:
            InputError: if one doesn't exist.
            LapidarError: if one isn't in the home and MLflow doesn't answer.
        """
        found = {run: local for run in runs if (local := run_files.read(self._settings, run)) is not None}
        remote = [run for run in runs if run not in found]
        for run, records in zip(remote, self._stages(remote), strict=True):
            if not any(record.stage == PARENT for record in records):
                raise InputError(f"there is no run {run!r}; the page Runs lists those that there are")
            found[run] = detail(run, records)
        return [found[run] for run in runs]

    def ahead(self, runs: Sequence[str]) -> None:
        """Begins to ask for runs that have ended and that a reader may want next; ``details`` then needn't."""
        if self._connected is None:  # nobody asked anything yet: that would take longer than the reader may stay
            return
        remote = [run for run in runs if not run_files.known(self._settings, run)]
        with self._beginning:
            now = time.monotonic()
            self._begun = {run: begun for run, begun in self._begun.items() if now - begun[0] < _AHEAD_SECONDS}
            for run in remote:
                if run not in self._begun:
                    self._begun[run] = now, self._pool.submit(_stages, self._connected, run)

    def curves(self, runs: Sequence[RunDetail], metrics: Sequence[tuple[str, str]]) -> list[Curve]:
        """Curves of runs by (stage, metric), one question for each of these; those that a run hasn't are left out.

        Of more than ``MOST_POINTS`` points the extremes are kept.

        Raises:
            LapidarError: if MLflow doesn't answer in time.
        """
        local = [run for run in runs if run_files.known(self._settings, run.row.id)]
        found = [each for run in local for each in run_files.curves(self._settings, run.row.id, metrics)]
        ids = {run.row.id for run in local}
        others = [run for run in runs if run.row.id not in ids]
        remote = self._each(
            [partial(_curves, runs=others, stage=stage, metric=metric) for stage, metric in metrics] if others else []
        )
        return found + [each for curves in remote for each in curves]

    def report(self, run: str) -> dict[str, Any] | None:
        """``report.json`` of a run: from the home, else from MLflow; None if it has none."""
        if run_files.known(self._settings, run):
            return run_files.report(self._settings, run)
        return self._artifact(run, "report.json")

    def artifacts(self, run: str) -> list[tuple[str, int | None]]:
        """(path, bytes) of what the tracker keeps of a whole run.

        Raises:
            LapidarError: if MLflow doesn't answer.
        """

        def listed(connection: Connection) -> list[tuple[str, int | None]]:
            whole = next((r for r in _stages(connection, run) if r.stage == PARENT), None)
            return [(f.path, f.file_size) for f in connection.client.list_artifacts(whole.tracker_id)] if whole else []

        return [] if self._empty else self._ask(listed)

    def link(self, run: str) -> str | None:
        """Address of a run in MLflow's own pages; None where they aren't served or don't know it."""
        if self.address is None:
            return None
        tracker_id = next((r.tracker_id for r in self._ask(lambda c: _stages(c, run)) if r.stage == PARENT), None)
        return tracker_id and f"{self.address}/#/experiments/{self._connection().experiment_id}/runs/{tracker_id}"

    def versions(self) -> list[Version]:
        """All registered versions, newest first; none where nothing was ever tracked.

        Raises:
            LapidarError: if MLflow doesn't answer.
        """
        return [] if self._empty else self._ask(lambda c: versions.search(c, ""))

    def query(self, filter: str) -> str:
        """MLflow's filter for what somebody typed.

        Raises:
            InputError: if it can't be read; says how it is written.
        """
        text = filter.strip()
        if not text:
            return _WHOLE_RUNS
        if not _OPERATOR.search(text):
            name = text.replace("'", "").replace("%", "")
            return f"{_WHOLE_RUNS} and attributes.run_name ILIKE '%{name}%'"
        mlflow_client.prepare_environment()
        from mlflow.exceptions import MlflowException
        from mlflow.utils.search_utils import SearchUtils

        try:
            SearchUtils.parse_search_filter(text)
        except MlflowException as error:
            raise InputError(f"the filter can't be read: {str(error).splitlines()[0]}; {_HELP}") from error
        return f"{_WHOLE_RUNS} and {text}"

    @property
    def _empty(self) -> bool:
        """Whether nothing was ever tracked: asking would make MLflow's tables first, which takes seconds."""
        return self._address is None and not (self._settings.services / "mlflow.db").exists()

    def _with_new(self, found: Page[RunRow], filter: str) -> Page[RunRow]:
        """The first page with the runs of the home that MLflow hasn't heard of yet."""
        shown = {row.id for row in found.rows}
        names = [
            name for name in run_files.undelivered(self._settings) if name not in shown and filter.strip().lower() in name.lower()
        ]
        new = run_files.rows(self._settings, names)
        rows = sorted([*new, *found.rows], key=lambda row: row.began.timestamp() if row.began else 0.0, reverse=True)
        return Page(rows, found.number, found.more, found.note)

    def _at_home(self, filter: str, page: int, note: str | None) -> Page[RunRow]:
        names = run_files.names(self._settings)
        if note and _OPERATOR.search(filter):
            note = f"{note}; without it the filter's conditions can't be checked, so they are left out"
        elif filter.strip() and not _OPERATOR.search(filter):
            names = [name for name in names if filter.strip().lower() in name.lower()]
        start = PAGE_ROWS * (page - 1)
        return Page(run_files.rows(self._settings, names[start : start + PAGE_ROWS]), page, len(names) > start + PAGE_ROWS, note)

    def _page(self, connection: Connection, query: str, page: int, order: str) -> Page[RunRow]:
        """MLflow has no page numbers, only a token from each page to the next: they are kept, and walked along if need be."""
        tokens = self._tokens.setdefault((query, order), [None])
        for number in range(min(page, len(tokens)), page + 1):
            found = connection.client.search_runs(
                [connection.experiment_id], query, max_results=PAGE_ROWS, order_by=[order], page_token=tokens[number - 1]
            )
            if not found.token:
                return Page(self._rows(found), number, False)
            if len(tokens) == number:
                tokens.append(found.token)
        return Page(self._rows(found), page, True)

    def _rows(self, found: Sequence[Any]) -> list[RunRow]:
        rows = []
        for each in found:
            record = _record(each)
            run = record.tags.get("run_id", record.tracker_id or "")
            if record.status == "running" and run_files.known(self._settings, run):
                record.status = "running" if run_files.alive(self._settings.runs / run) else "killed"
            rows.append(row(run, record))
        return rows

    def _artifact(self, run: str, name: str) -> dict[str, Any] | None:
        def read(connection: Connection) -> dict[str, Any] | None:
            whole = next((r for r in _stages(connection, run) if r.stage == PARENT), None)
            if whole is None or not any(f.path == name for f in connection.client.list_artifacts(whole.tracker_id)):
                return None
            location = connection.client.get_run(whole.tracker_id).info.artifact_uri
            with tempfile.TemporaryDirectory() as scratch:
                found: dict[str, Any] = json.loads(connection.download(location, name, Path(scratch)).read_bytes())
                return found

        return None if self._empty else self._ask(read)

    def _stages(self, runs: Sequence[str]) -> list[list[Record]]:
        """Records of each run; none where nothing was ever tracked."""
        return [[] for _ in runs] if self._empty else self._each([partial(self._stages_of, run=run) for run in runs])

    def _stages_of(self, connection: Connection, run: str) -> list[Record]:
        """Records of a run, of the question that began ahead if one did and was answered."""
        with self._beginning:
            began, answer = self._begun.pop(run, (0.0, None))
        if answer is not None and time.monotonic() - began < _AHEAD_SECONDS:
            with suppress(Exception):  # it is asked again, now so that whoever waits hears what is the matter
                return answer.result(self._seconds)
        return _stages(connection, run)

    def _connection(self) -> Connection:
        with self._connecting:
            if self._connected is None:
                os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", f"{self._seconds:.0f}")
                self._connected = mlflow_client.connect(self._settings, self._address, self._experiment)
            return self._connected

    def _ask(self, action: Callable[[Connection], Result]) -> Result:
        return self._each([action])[0]

    def _each(self, actions: Sequence[Callable[[Connection], Result]]) -> list[Result]:
        """Answers to questions that are asked beside each other."""
        mlflow_client.load()  # on a busy machine its import alone takes longer than MLflow may take to answer
        futures = [self._pool.submit(lambda do: do(self._connection()), action) for action in actions]
        try:
            return [future.result(self._seconds) for future in futures]
        except TooSlow as error:
            raise LapidarError(
                f"MLflow at {self._place} didn't answer within {self._seconds:.0f} s; see whether it runs"
            ) from error
        except LapidarError:
            raise
        except Exception as error:
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            if mlflow_client.refused(error):
                raise InputError(f"MLflow refuses the question: {said}; {_HELP}") from error
            raise LapidarError(f"MLflow at {self._place} doesn't answer ({said})") from error

    @property
    def _place(self) -> str:
        return self._address or str(self._settings.services / "mlflow.db")


def _stages(connection: Connection, run: str) -> list[Record]:
    """Records of a run and of its stages."""
    if not re.fullmatch(r"[\w.-]{1,250}", run):
        return []
    query = f"tags.`lapidar.run_id` = '{run}'"
    return [_record(each) for each in connection.client.search_runs([connection.experiment_id], query, max_results=_MOST_STAGES)]


def _record(found: Any) -> Record:
    tags = {name.removeprefix("lapidar."): value for name, value in found.data.tags.items()}
    stage = tags.get("stage", "pipeline")
    return Record(
        stage=PARENT if stage == "pipeline" else stage,
        name=found.info.run_name or stage,
        status=tags.get("status", _STATUS.get(found.info.status, "running")),
        began=found.info.start_time,
        ended=found.info.end_time,
        params=dict(found.data.params),
        tags=tags,
        metrics=dict(found.data.metrics),
        tracker_id=found.info.run_id,
        dataset=next(((i.dataset.name, i.dataset.digest) for i in getattr(found.inputs, "dataset_inputs", [])), None),
    )


def _curves(connection: Connection, runs: Sequence[RunDetail], stage: str, metric: str) -> list[Curve]:
    """One metric of those runs that have it."""
    records = {run.row.id: found for run in runs if (found := run.stage(stage)) and found.tracker_id and metric in found.metrics}
    if not records:
        return []
    points = connection.histories([record.tracker_id for record in records.values() if record.tracker_id], metric)
    curves = [curve(run, stage, metric, points[record.tracker_id or ""], record.began) for run, record in records.items()]
    return [thinned(each, MOST_POINTS) for each in curves]
