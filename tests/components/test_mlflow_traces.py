"""Traces reach MLflow once, with every span; a tracker that is down delays them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components import mlflow_client, mlflow_traces
from components.agents.traces import Trace
from components.settings import Settings


def traced(settings: Settings) -> Trace:
    trace = Trace("agent", mlflow_traces.folder(settings), {"model": "tiny@champion"})
    with trace.span("agent", "AGENT", {"messages": [{"role": "user", "content": "6*7?"}]}) as root:
        with trace.span("calculator", "TOOL", {"expression": "6*7"}) as span:
            span.set("42")
        trace.event("malformed call", {"problems": ["planted"]})
        root.set({"reason": "answer"})
    return trace


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_a_trace_arrives_with_its_spans_and_only_once(settings: Settings) -> None:
    trace = traced(settings)
    (file,) = mlflow_traces.folder(settings).glob("tr-*.json")
    before = file.read_bytes()
    assert mlflow_traces.deliver(settings) == 1
    assert mlflow_traces.deliver(settings) == 0
    file.write_bytes(before)  # as if the delivery had been killed before it took the file away
    assert mlflow_traces.deliver(settings) == 1
    client: Any = mlflow_client.connect(settings, None, "lapidar").client
    found = client.get_trace(trace.id)
    assert [span.name for span in found.data.spans] == ["agent", "calculator"]
    root, tool = found.data.spans
    assert tool.parent_id == root.span_id
    assert (tool.inputs, tool.outputs, tool.span_type) == ({"expression": "6*7"}, "42", "TOOL")
    assert root.events[0].name == "malformed call"
    assert found.info.tags["lapidar.model"] == "tiny@champion"
    assert found.info.state == "OK"
    experiment = client.get_experiment_by_name("lapidar")
    assert len(client.search_traces(locations=[experiment.experiment_id])) == 1


def test_a_tracker_that_is_down_delays_and_stops_nothing(settings: Settings) -> None:
    down = settings.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    courier = mlflow_traces.Courier(down)
    traced(down)
    courier.wake()
    assert not courier.close(timeout=10)
    assert len(list(mlflow_traces.folder(settings).glob("tr-*.json"))) == 1
    courier = mlflow_traces.Courier(settings)
    assert courier.close(timeout=60)


def test_a_torn_file_is_set_aside(settings: Settings) -> None:
    traced(settings)
    (mlflow_traces.folder(settings) / "tr-torn.json").write_text(json.dumps({"id": "tr-torn"})[:9])
    assert mlflow_traces.deliver(settings) == 2
    assert [file.name for file in mlflow_traces.folder(settings).iterdir()] == ["tr-torn.broken"]
