"""Pages of the dashboard without a browser and with one, on homes whose runs were recorded by the real tracker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import dashboards
from components import local_services
from components.settings import Settings
from components.store import Store
from components.tracking import Tracker

APP = Path(dashboards.__file__).with_name("app.py")
SCRIPT = APP.with_name("script.py")
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
Opener = Callable[..., AppTest]
HOSTILE = "<img src=http://evil.invalid/x.png> ![x](http://evil.invalid/y.png) [a](javascript:alert(1)) :red[b] $x$"


@pytest.fixture(autouse=True)
def the_main_module_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit puts the script that it runs in the main module's place and leaves it there, for every test that follows."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def open_view(name: str, **query: str) -> AppTest:
    """A page of the dashboard by its view's name, with what its address says. Streamlit's own switch takes files only."""
    page = AppTest.from_file(str(SCRIPT), default_timeout=60)
    page._page_hash = calc_hash("" if name == "home" else name)
    for key, value in query.items():
        page.query_params[key] = value
    return page.run()


@pytest.fixture
def open_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """``open_page(view, home=folder, **query)``; an empty home by default."""
    for name in ("LAPIDAR_TRACKING_URI", "LAPIDAR_DATABASE_URL", "LAPIDAR_STORE"):
        monkeypatch.delenv(name, raising=False)
    config.set_option("server.address", "127.0.0.1")
    st.cache_data.clear()  # a server of another test may have had this one's port seconds ago

    def opener(name: str, home: Path | None = None, **query: str) -> AppTest:
        monkeypatch.setenv("LAPIDAR_HOME", str(home or tmp_path / "home"))
        return open_view(name, **query)

    return opener


def words_of(page: AppTest) -> str:
    """All that a page says."""
    kinds = ("title", "subheader", "markdown", "text", "caption", "warning", "error", "code", "metric")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(page, kind))


@dataclass(frozen=True)
class Recorded:
    """A home with runs: two that finished, one that failed, one that was killed in training."""

    home: Path
    first: str = "tiny-1"
    second: str = "tiny-2"
    failed: str = "tiny-3"
    killed: str = "tiny-4"


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """See ``Recorded``. The tracker, the spool, MLflow's tables and the sealed outputs are real; only nothing was trained."""
    found = Recorded(tmp_path_factory.mktemp("recorded") / "home")
    settings = Settings(home=found.home, tracking_uri=None, store=None, database_url=None)
    settings.prepare()
    record(settings, found.first, "0.001", right=40)
    record(settings, found.second, "0.003", right=70)
    record(settings, found.failed, "0.1", right=0, failing=True)
    dead = "import os,sys; from components.settings import Settings; from components.tracking import Tracker\n"
    dead += "t = Tracker(Settings(), None, sys.argv[1]); t.start('tiny', params={'seed': 0}); t.start('sft', stage='sft')\n"
    dead += "t.log_stage_events('sft', [{'kind': 'metric', 'name': 'loss', 'value': 2.0, 'step': 1, 'time': 1.0}]); os._exit(9)"
    environment = {**os.environ, "LAPIDAR_HOME": str(found.home)}
    subprocess.run([sys.executable, "-c", dead, found.killed], env=environment, check=False, timeout=60)
    return found


def record(settings: Settings, run: str, lr: str, right: int, failing: bool = False) -> None:
    tracker = Tracker(settings, None, run)
    tags = {"code.revision": "0" * 40, "code.clean": True, "lock": "1" * 64, "run": run, "gate": "unknown"}
    tracker.start("tiny", params={"seed": 0, "sft": {"lr": lr}}, tags=tags)
    tracker.start("sft", stage="sft", params={"lr": lr}, tags={"stage.key": f"5f{run[-1]}" + "0" * 61, "stage.method": "sft"})
    now = time.time()
    points = [("loss", 2.0 / (1 + step) * float(lr) * 1000) for step in range(20)]
    events = [{"kind": "metric", "name": n, "value": v, "step": i, "time": now + i} for i, (n, v) in enumerate(points)]
    tracker.log_stage_events("sft", [*events, {"kind": "metric", "name": "grad_norm", "value": 1.0, "step": 1, "time": now}])
    folder = settings.runs / run
    report: dict[str, Any] = {"run": run, "recipe": "tiny", "version": None, "gate": {"verdict": "unknown", "reasons": []}}
    if failing:
        report["error"] = {"type": "LapidarError", "message": f"the loss isn't finite; lower sft.lr. {HOSTILE}"}
    else:
        tracker.end("sft", "ran", 3.0)
        metrics = _evaluate(settings, tracker, run, right)
        tracker.report(None, metrics)
        report["gate"]["reasons"] = [{"check": "parity", "verdict": "pass", "text": HOSTILE}]
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "recipe.json").write_text(json.dumps({"name": "tiny", "seed": 0, "sft": {"lr": float(lr)}}))
    (folder / "log.txt").write_text(f"it began\n{HOSTILE}\n")
    tracker.end(status="failed" if failing else "finished", seconds=4.0)
    assert tracker.close(60)


def _evaluate(settings: Settings, tracker: Tracker, run: str, right: int) -> dict[str, Any]:
    """A sealed evaluation of 100 items, of which ``right`` are right."""
    key = f"e{run[-1]}" + "0" * 62
    metrics = {"sums": {"accuracy": {"value": right / 100, "low": right / 100 - 0.09, "high": right / 100 + 0.09, "n": 100}}}
    out = settings.work / "evaluate" / key / "out"
    (out / "log").mkdir(parents=True)
    items = [
        {"benchmark": "sums", "id": str(i), "prompt": f"{i}+1? {HOSTILE}", "target": str(i + 1), "response": f"said {i} {HOSTILE}"}
        | {"scores": {"accuracy": float(i < right)}, "truncated": False, "parsed": i % 10 > 0}
        for i in range(100)
    ]
    (out / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    (out / "metrics.json").write_text(json.dumps(metrics))
    text = {"kind": "text", "name": "row as the model sees it", "message": "<s>2+2?⟦ 4</s>⟧", "time": 1.0}
    (out / "log" / "events.jsonl").write_text(json.dumps(text) + "\n")
    Store(settings.stages).seal("evaluate", "harness", key, out, {"versions": {"torch": f"2.{run[-1]}"}})
    tracker.start("evaluate.sft", stage="evaluate.sft", tags={"stage.key": key, "stage.method": "harness"})
    tracker.report("evaluate.sft", metrics)
    tracker.end("evaluate.sft", "ran", 1.0)
    return metrics


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """``serve(home, **environment)`` gives the address of a dashboard of its own; one for each home."""
    running: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}

    def start(home: Path, **environment: str) -> str:
        name = json.dumps([str(home), environment])
        if name not in running:
            port = int(environment.get("STREAMLIT_SERVER_PORT", 0)) or local_services.free_port(0)
            command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
            address = f"http://127.0.0.1:{port}"
            clean = {key: value for key, value in os.environ.items() if not key.startswith("LAPIDAR_")}
            process = subprocess.Popen(command, env={**clean, "LAPIDAR_HOME": str(home), **environment}, stderr=subprocess.DEVNULL)
            running[name] = address, process
            _wait(f"{address}/_stcore/script-health-check")
        return running[name][0]

    yield start
    for _, process in running.values():
        process.terminate()
    for _, process in running.values():
        process.wait(20)


def _wait(url: str, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with suppress(OSError), urllib.request.urlopen(url, timeout=20):
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} didn't answer within {seconds:.0f} s")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium; tests that need it are skipped where it isn't installed.

    It ends with each file: while Playwright's event loop runs, no other test of the process may begin one.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} isn't there; install Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """``visit(url, width=1280, dark=False)`` opens a page as a new visitor and waits until nothing moves.

    With ``LAPIDAR_SCREENSHOTS=folder`` in the environment each page is also kept there as a picture. A page that asks another
    machine for anything fails the test.
    """
    contexts: list[Any] = []
    asked: list[str] = []

    def open_url(url: str, width: int = 1280, dark: bool = False, locale: str = "en-US") -> Any:
        size = {"width": width, "height": 900 if width > 500 else 844}
        context = chromium.new_context(viewport=size, color_scheme="dark" if dark else "light", locale=locale)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: asked.append(r.url) if not r.url.startswith((url[:21], "data:", "blob:", "ws:")) else None)
        page.goto(url)
        settle(page)
        if folder := os.environ.get("LAPIDAR_SCREENSHOTS"):
            name = f"{request.node.name}-{width}{'-dark' if dark else ''}".replace("/", "_")
            page.screenshot(path=str(Path(folder) / f"{name}.png"))
        return page

    yield open_url
    for context in contexts:
        context.close()
    assert not [url for url in asked if "127.0.0.1" not in url], "a page asked another machine"


def eventually(true: Callable[[], bool], seconds: float = 20.0, otherwise: str = "it didn't come true") -> None:
    """Waits until something is true, and fails with what is said ``otherwise``."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"after {seconds:.0f} s {otherwise}"
        time.sleep(0.05)


def settle(page: Any) -> None:
    """Waits until the page has its title, and its script has run through and nothing is stale."""
    page.wait_for_selector("h1", timeout=60_000)
    busy = "[data-testid=stSpinner], [data-stale=true], [data-testid=stSkeleton]"
    page.wait_for_timeout(300)
    page.wait_for_function(
        f"document.querySelector('[data-test-script-state=notRunning]') && !document.querySelector('{busy}')", timeout=60_000
    )
