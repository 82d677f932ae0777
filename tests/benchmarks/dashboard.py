"""How long the dashboard takes to show what it shows, with many runs in MLflow: goals are 2 s for the first table of 10,000 runs
with 50 metrics each, and 1 s for comparing six of them.

The rows go straight into the tables of MLflow's SQLite file. Then a real ``mlflow server`` and a real dashboard serve them; times
are of the reader by itself, and of a page in a real Chromium from asking for its address until its rows, or the marks of all its
charts, are on the screen: in a browser that has nothing of the dashboard yet, with nothing kept in the dashboard's caches, and with
everything; and from the click that leads there from another page. ``Streamlit alone`` are pages that show a title and a table of
as many cells, or Streamlit's own charts of as many points, and read nothing: what no page of any Streamlit app comes below that
has those.

Usage: ``dashboard.py [--runs 10000] [--home FOLDER] [--repeats 5]``; prints a Markdown table. A given home is kept and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components import local_services, mlflow_client
from components.mlflow_reader import History
from components.settings import Settings

METRICS, STAGED, STEPS, COMPARED = 50, 60, 500, 6
CHARTS = 3  # that Compare draws of these runs unasked: scores, loss and kl
KEPT = 10.5  # seconds after which the dashboard's caches have forgotten everything
START = 1_760_000_000_000
CHROMIUM = Path("/usr/bin/chromium")
PICTURES = os.environ.get("LAPIDAR_SCREENSHOTS")  # a folder where each page is kept as it was when it counted as drawn


def fill(settings: Settings, runs: int) -> None:
    """MLflow's own tables with ``runs`` whole runs; the newest have a training stage with curves and an evaluation."""
    experiment = mlflow_client.connect(settings, None, "lapidar").experiment_id
    database = sqlite3.connect(settings.services / "mlflow.db")
    database.execute("PRAGMA synchronous=OFF")
    draw = random.Random(0)
    for number in range(runs):
        run = _insert(
            database, experiment, f"run{number:05d}", "pipeline", number, {"seed": str(number), "sft.lr": f"{draw.random():.4f}"}
        )
        scores = {f"suite{i}.accuracy.{end}": v for i in range(METRICS // 4) for end, v in _estimate(draw).items()}
        _metrics(database, run, {**scores, "seconds": 60.0, "steps": 500.0}, number)
        _tags(database, run, {"lapidar.gate": draw.choice(["pass", "fail", "unknown"]), "lapidar.status": "finished"})
        if number >= runs - STAGED:
            stage = _insert(database, experiment, f"run{number:05d}", "sft", number, {"lr": "0.001"})
            for metric in ("loss", "grad_norm", "kl"):
                _curve(database, stage, metric, [2 / (1 + step / 50) + 0.05 * draw.random() for step in range(STEPS)], number)
            evaluated = _insert(database, experiment, f"run{number:05d}", "evaluate.sft", number, {})
            _metrics(database, evaluated, scores, number)
    database.commit()
    database.execute("ANALYZE")
    database.close()


def _insert(database: sqlite3.Connection, experiment: str, run: str, stage: str, number: int, params: dict[str, str]) -> str:
    key = f"{abs(hash((run, stage))) % 16**32:032x}"
    began = START + 60_000 * number
    row = (key, "quickstart" if stage == "pipeline" else stage, "UNKNOWN", "", "", "unknown", "FINISHED", began, began + 60_000)
    database.execute(
        "INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?,'','active',?,?,NULL)", (*row, f"file:///nowhere/{key}", int(experiment))
    )
    _tags(database, key, {"lapidar.run_id": run, "lapidar.stage": stage, "mlflow.runName": row[1]})
    database.executemany("INSERT INTO params VALUES (?,?,?)", [(k, v, key) for k, v in params.items()])
    return key


def _tags(database: sqlite3.Connection, run: str, tags: dict[str, str]) -> None:
    database.executemany("INSERT INTO tags VALUES (?,?,?)", [(k, v, run) for k, v in tags.items()])


def _metrics(database: sqlite3.Connection, run: str, metrics: dict[str, float], number: int) -> None:
    at = START + 60_000 * number
    database.executemany("INSERT INTO latest_metrics VALUES (?,?,?,0,0,?)", [(k, v, at, run) for k, v in metrics.items()])
    database.executemany("INSERT INTO metrics VALUES (?,?,?,?,0,0)", [(k, v, at, run) for k, v in metrics.items()])


def _curve(database: sqlite3.Connection, run: str, metric: str, values: list[float], number: int) -> None:
    at = START + 60_000 * number
    rows = [(metric, value, at + 100 * step, run, step) for step, value in enumerate(values)]
    database.executemany("INSERT INTO metrics VALUES (?,?,?,?,?,0)", rows)
    database.execute("INSERT INTO latest_metrics VALUES (?,?,?,?,0,?)", (metric, values[-1], rows[-1][2], len(values) - 1, run))


def _estimate(draw: random.Random) -> dict[str, float]:
    value = draw.random()
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 500.0}


@contextmanager
def serving(command: list[str], address: str, environment: dict[str, str]) -> Iterator[None]:
    """A server for as long as the block lasts, from the moment on when it answers."""
    process = subprocess.Popen(
        [sys.executable, *command], env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(address, timeout=2):
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{address} didn't answer")
        yield
    finally:
        process.terminate()
        process.wait(20)


def timed(action: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(first, median of the others) in seconds."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return times[0], statistics.median(times[1:])


def newest(settings: Settings) -> list[str]:
    """The runs to compare: all of the first page."""
    page = History(settings).runs()
    assert page.note is None, page.note
    assert len(page.rows) >= COMPARED
    return [row.id for row in page.rows]


def reader(settings: Settings, repeats: int) -> dict[str, tuple[float, float]]:
    """The reader by itself; a new one each time, so that nothing is remembered."""
    ids = newest(settings)[:COMPARED]
    compared = [("sft", "loss"), ("sft", "grad_norm"), ("sft", "kl")]

    def compare() -> None:
        history = History(settings)
        found = history.curves(history.details(ids), compared)
        assert len(found) == COMPARED * len(compared), [(each.run, each.metric) for each in found]

    query = "metrics.`suite3.accuracy.value` > 0.9 and tags.`lapidar.gate` = 'pass'"
    return {
        "first page of runs": timed(lambda: History(settings).runs(), repeats),
        "filtered page of runs": timed(lambda: History(settings).runs(query), repeats),
        "six runs with three curves each": timed(compare, repeats),
    }


ALONE = """
import random
import altair, pandas
import streamlit as st
st.set_page_config(layout="wide")
st.title("alone")
if "charts" in st.query_params:
    names = [f"run{i}" for i in range(6)]
    line = lambda: [{"x": x, "value": 2 / (1 + x / 50) + 0.05 * random.random(), "run": name} for name in names for x in range(500)]
    for column in (*st.columns(2), st.container()):
        chart = altair.Chart(pandas.DataFrame(line())).mark_line().encode(x="x:Q", y="value:Q", color="run:N")
        column.altair_chart(chart, height=260)
else:
    cells = {"run": "/?id=run00001", "status": "finished", **{f"score{i}": "0.618 [0.598, 0.638]" for i in range(6)}}
    st.dataframe([cells] * 50, height=640, column_config={"run": st.column_config.LinkColumn()})
"""
_TABLE = "[data-testid=stDataFrame] canvas"
_TABLE_DRAWN = """() => [...document.querySelectorAll("[data-testid=stDataFrame] canvas")].some((canvas) => {
  if (!canvas.width) return false;
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let coloured = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    const r = pixels[i], g = pixels[i + 1], b = pixels[i + 2];
    if (pixels[i + 3] > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 60) coloured += 1;
  }
  return coloured > 500;  // the runs' links; the head has none
})"""
_CHARTS_DRAWN = f"""() => [...document.querySelectorAll("[data-testid=stVegaLiteChart] svg")].filter((chart) =>
  [...chart.querySelectorAll(".role-mark path")].reduce((sum, path) => sum + path.getAttribute("d").length, 0) > 1000
).length >= {CHARTS}"""
_FIGURES_DRAWN = f"""() => [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")].filter(({{ shadowRoot }}) => {{
  const paths = [...(shadowRoot?.querySelectorAll("svg path.line") ?? [])].filter((path) => path.getAttribute("d").length > 1000);
  return paths.length === {COMPARED} || shadowRoot?.querySelectorAll("g.estimate").length === {COMPARED * (METRICS // 4)};
}}).length === {CHARTS}"""


def drawn(page: Any, shown: str) -> None:
    """Waits until that is on the page which a frame or a legend without its data isn't."""
    page.wait_for_function(shown, polling=20, timeout=60_000)


def visit(context: Any, url: str, shown: str) -> float:
    """Seconds from asking for an address until it is drawn."""
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    drawn(page, shown)
    took = time.perf_counter() - began
    if PICTURES:
        page.wait_for_timeout(50)
        page.screenshot(path=str(Path(PICTURES) / f"{url.rpartition('/')[2].partition('?')[0] or 'alone'}.png"))
    page.close()
    return took


def clicked(context: Any, address: str, number: int) -> tuple[float, float]:
    """Seconds from the click on Runs, on the first page, and from the one on Compare, with six chosen, until they are drawn."""
    page = context.new_page()
    page.goto(address)
    page.get_by_role("link", name="Compare", exact=True).wait_for()
    page.wait_for_timeout(3000)
    began = time.perf_counter()
    page.get_by_role("link", name="Runs", exact=True).click()
    drawn(page, _TABLE_DRAWN)
    runs = time.perf_counter() - began
    box = page.locator(_TABLE).first.bounding_box()
    for row in range(2 * number + 1, 2 * number + 1 + COMPARED):  # six that weren't compared before
        page.mouse.click(box["x"] + 16, box["y"] + 38 + 35 * row + 17)
    button = page.get_by_role("button", name=f"Compare ({COMPARED})")
    button.wait_for()
    page.wait_for_timeout(1000)
    began = time.perf_counter()
    button.click()
    drawn(page, _FIGURES_DRAWN)
    took = runs, time.perf_counter() - began
    page.close()
    return took


def browser(address: str, alone: str, ids: list[str], repeats: int) -> dict[str, tuple[float, float]]:
    """Pages in a Chromium; each comparison is of other six runs, or the dashboard would have kept their curves."""
    from playwright.sync_api import sync_playwright

    def compared(number: int) -> str:
        first = 2 * number
        return f"{address}/compare?runs={','.join(ids[first : first + COMPARED])}"

    pages: dict[str, tuple[Callable[[int], str], str]] = {
        "Runs": (lambda _: f"{address}/runs", _TABLE_DRAWN),
        "Compare six": (compared, _FIGURES_DRAWN),
        "Streamlit alone, a table": (lambda _: f"{alone}/", _TABLE_DRAWN),
        "Streamlit alone, three charts": (lambda _: f"{alone}/?charts=3", _CHARTS_DRAWN),
    }
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    found = {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        for name, (url, shown) in pages.items():
            times: dict[str, list[float]] = {"a browser without its files": [], "cold cache": [], "warm cache": []}
            for number in range(repeats + 1):
                context = chromium.new_context(viewport={"width": 1280, "height": 900})
                times["a browser without its files"].append(visit(context, url(2 * number), shown))
                time.sleep(0.0 if name.startswith("Streamlit") else KEPT)
                times["cold cache"].append(visit(context, url(2 * number + 1), shown))
                times["warm cache"].append(visit(context, url(2 * number + 1), shown))
                context.close()
            found |= {f"{name}, {kind}": (taken[0], statistics.median(taken[1:])) for kind, taken in times.items()}
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        clicks = [clicked(context, address, number) for number in range(repeats + 1)]
        for name, taken in zip(("Runs", "Compare six"), zip(*clicks, strict=True), strict=True):
            found[f"{name}, from a click"] = taken[0], statistics.median(taken[1:])
        chromium.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Settings(home=options.home or Path(scratch))
        if not (home.services / "mlflow.db").exists():
            fill(home, options.runs)
        mlflow, dashboard, alone = (f"http://127.0.0.1:{local_services.free_port(port)}" for port in (0, 0, 0))
        stores = ["--backend-store-uri", f"sqlite:///{home.services / 'mlflow.db'}", "--workers", "1"]
        with serving(["-m", "mlflow", "server", *stores, "--port", mlflow.rpartition(":")[2]], f"{mlflow}/health", {}):
            served = Settings(home=home.root, tracking_uri=mlflow)
            found = {f"{name}, from the file": times for name, times in reader(home, options.repeats).items()}
            found |= {f"{name}, from MLflow's server": times for name, times in reader(served, options.repeats).items()}
            ids = newest(served)
            app = Path(__file__).parents[2] / "dashboards" / "app.py"
            command = ["-m", "streamlit", "run", str(app), "--server.port", dashboard.rpartition(":")[2]]
            environment = {"LAPIDAR_HOME": str(home.root), "LAPIDAR_TRACKING_URI": mlflow}
            script = Path(scratch) / "alone.py"
            script.write_text(ALONE)
            bare = ["-m", "streamlit", "run", str(script), "--server.headless", "true", "--server.port", alone.rpartition(":")[2]]
            if CHROMIUM.exists():
                with (
                    serving(command, f"{dashboard}/_stcore/script-health-check", environment),
                    serving(bare, f"{alone}/_stcore/health", {}),
                ):
                    found |= browser(dashboard, alone, ids, options.repeats)
    print(f"{options.runs:,} runs x {METRICS} metrics\n\n| what | first (s) | then (s) |\n| --- | --- | --- |")
    for name, (first, then) in found.items():
        print(f"| {name} | {first:.2f} | {then:.2f} |")
    print(json.dumps({name: [round(t, 3) for t in times] for name, times in found.items()}))


if __name__ == "__main__":
    main()
