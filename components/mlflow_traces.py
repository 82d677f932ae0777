"""Delivers agents' traces to MLflow. A tracker that is down delays them: what isn't delivered stays in the home for the next one.

A trace keeps the id that it got when it began, and MLflow takes the same one twice without doubling it, so a delivery that was
killed is repeated.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from pathlib import Path
from typing import Any

from components import local_services, mlflow_client
from components.mlflow_client import Connection
from components.settings import Settings

logger = logging.getLogger(__name__)
_PREVIEW = 1000
_LONGEST_PAUSE_SECONDS = 30.0


def folder(settings: Settings) -> Path:
    """Where traces wait."""
    return settings.root / "traces"


class Courier:
    """Delivers in the background while a chat lives. Nobody waits for it.

    Args:
        experiment: of MLflow.
    """

    def __init__(self, settings: Settings, experiment: str = "lapidar") -> None:
        self._settings, self._experiment = settings, experiment
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="lapidar-traces", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is a new trace."""
        self._wake.set()

    def close(self, timeout: float = 5.0) -> bool:
        """A last delivery; what is left is delivered by the next chat. Returns whether nothing is left."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        return not any(folder(self._settings).glob("tr-*.json"))

    def _work(self) -> None:
        pause = 1.0
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                deliver(self._settings, self._experiment)
                pause = 1.0
            except Exception as error:
                logger.info("traces wait for MLflow: %s", str(error).splitlines()[0][:300] if str(error) else type(error).__name__)
                if self._closing.is_set():
                    return
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                self._wake.set()
            if self._closing.is_set() and not self._wake.is_set():
                return


def deliver(settings: Settings, experiment: str = "lapidar") -> int:
    """Gives MLflow all traces that wait; returns how many.

    Raises:
        Exception: MLflow's, if it doesn't answer; what wasn't delivered still waits.
    """
    waiting = sorted(folder(settings).glob("tr-*.json"), key=lambda file: file.stat().st_mtime)
    if not waiting:
        return 0
    connection = mlflow_client.connect(settings, local_services.address(settings, "mlflow"), experiment)
    for file in waiting:
        try:
            trace = json.loads(file.read_bytes())
        except FileNotFoundError:
            continue  # another chat was faster
        except ValueError:
            file.rename(file.with_suffix(".broken"))
            continue
        try:
            _log(connection, trace)
        except Exception as error:
            if not mlflow_client.refused(error):
                raise
            logger.warning("MLflow refuses trace %s: %s", trace["id"], str(error).splitlines()[0][:300])
            file.rename(file.with_suffix(".refused"))
            continue
        file.unlink(missing_ok=True)
    return len(waiting)


def _log(connection: Connection, trace: dict[str, Any]) -> None:
    """One trace: what it is, then its spans."""
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.client import TracingClient

    root = trace["spans"][0]
    client = TracingClient(connection.address)
    info = TraceInfo(
        trace_id=trace["id"],
        trace_location=TraceLocation.from_experiment_id(connection.experiment_id),
        request_time=trace["start"] // 1_000_000,
        execution_duration=(trace["end"] - trace["start"]) // 1_000_000,
        state=TraceState.OK if trace["ok"] else TraceState.ERROR,
        request_preview=json.dumps(root["inputs"], ensure_ascii=False)[:_PREVIEW],
        response_preview=json.dumps(root["outputs"], ensure_ascii=False)[:_PREVIEW],
        tags={"mlflow.traceName": trace["name"], **{f"lapidar.{name}": str(value) for name, value in trace["tags"].items()}},
    )
    client.start_trace(info)
    client.log_spans(connection.experiment_id, [Span.from_dict(_span(trace["id"], span)) for span in trace["spans"]])


def _span(trace: str, span: dict[str, Any]) -> dict[str, Any]:
    """A span as MLflow's third schema has it."""
    attributes = {"mlflow.traceRequestId": trace, "mlflow.spanType": span["type"]}
    attributes |= {f"mlflow.span{end}": span[end.lower()] for end in ("Inputs", "Outputs") if span[end.lower()] is not None}
    return {
        "trace_id": _packed(trace.removeprefix("tr-")),
        "span_id": _packed(span["id"]),
        "parent_span_id": _packed(span["parent"]) if span["parent"] else "",
        "name": span["name"],
        "start_time_unix_nano": span["start"],
        "end_time_unix_nano": span["end"],
        "status": {"code": "STATUS_CODE_OK" if span["ok"] else "STATUS_CODE_ERROR", "message": ""},
        "attributes": {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()},
        "events": [{"name": e["name"], "time_unix_nano": e["time"], "attributes": {"text": e["text"]}} for e in span["events"]],
    }


def _packed(identifier: str) -> str:
    return base64.b64encode(bytes.fromhex(identifier)).decode()
