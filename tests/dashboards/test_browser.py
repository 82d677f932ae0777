"""The dashboard in a real Chromium: every page light, dark and narrow; a comparison from the table on; signing in; what is live."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.mlflow_reader import History
from components.reviews import accounts, sign_ins
from components.run_records import Curve
from components.settings import Settings
from dashboards.navigation import VIEWS

from .conftest import HOSTILE, Recorded, eventually, record, settle

pytestmark = pytest.mark.browser
Visit = Callable[..., Any]
Serve = Callable[..., str]
NARROW = 390


def no_stack_trace(page: Any) -> None:
    assert page.locator("[data-testid=stException]").count() == 0
    assert "Traceback" not in page.inner_text("body")


@pytest.mark.parametrize("view", [view.name for view in VIEWS])
def test_every_page_fits_its_width(view: str, recorded: Recorded, serve: Serve, visit: Visit) -> None:
    query = {"run": f"?id={recorded.first}", "compare": f"?runs={recorded.first},{recorded.second}"}.get(view, "")
    page = visit(f"{serve(recorded.home)}/{'' if view == 'home' else view}{query}")
    for width in (1280, NARROW):
        page.set_viewport_size({"width": width, "height": 844})
        settle(page)
        no_stack_trace(page)
        main = page.locator("[data-testid=stMain]")
        assert main.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, f"{view} is wider than {width} pixels"


@pytest.mark.skipif("LAPIDAR_SCREENSHOTS" not in os.environ, reason="LAPIDAR_SCREENSHOTS=folder keeps pictures of every page there")
@pytest.mark.parametrize("view", [view.name for view in VIEWS])
def test_pictures(view: str, recorded: Recorded, serve: Serve, visit: Visit) -> None:
    query = {"run": f"?id={recorded.first}", "compare": f"?runs={recorded.first},{recorded.second}"}.get(view, "")
    for width, dark in ((1280, False), (1280, True), (NARROW, False), (NARROW, True)):
        no_stack_trace(visit(f"{serve(recorded.home)}/{'' if view == 'home' else view}{query}", width, dark))


def test_two_runs_are_chosen_in_the_table_and_compared(recorded: Recorded, serve: Serve, visit: Visit) -> None:
    page = visit(f"{serve(recorded.home)}/runs?q=tiny")
    table = page.locator("[data-testid=stDataFrame]")
    box = table.bounding_box()
    for row in (3, 4):  # below the head, the killed and the failed one
        page.mouse.click(box["x"] + 16, box["y"] + 38 + 35 * (row - 1) + 17)
    page.get_by_role("button", name="Compare (2)").click()
    page.wait_for_url("**/compare?runs=*")
    settle(page)
    page.get_by_text("30 won, 0 lost").or_(page.get_by_text("0 won, 30 lost")).wait_for()
    page.locator("[data-testid=stBidiComponentIsolated] g.estimate").first.wait_for()


def losses(recorded: Recorded) -> list[Curve]:
    history = History(Settings(home=recorded.home, tracking_uri=None, database_url=None))
    return history.curves(history.details([recorded.first, recorded.second]), [("sft", "loss")])


def read_with(page: Any, figure: Any, keys: tuple[str, ...]) -> list[str]:
    """Words of what a figure tells after these keys."""
    figure.focus()
    for key in keys:
        page.keyboard.press(key)
    found: list[str] = figure.locator(".tip").inner_text().split()
    return found


def tells(page: Any, figure: Any, mark: str) -> bool:
    """Whether a figure says something where one points at its first mark of a kind."""
    page.mouse.move(0, 0)
    figure.locator(mark).first.hover()
    return bool(figure.locator(".tip").is_visible())


def test_figures_are_read_by_pointing_and_with_keys(recorded: Recorded, serve: Serve, visit: Visit) -> None:
    page = visit(f"{serve(recorded.home)}/compare?runs={recorded.first},{recorded.second}")
    curves = page.get_by_role("group", name="sft loss")
    curves.locator("path.line").nth(1).wait_for()  # figures are drawn behind the script's end
    assert curves.locator("path.line").count() == 2
    for keys, step in (("Home",), 0), (("Home", "ArrowRight"), 1), (("End",), 19), (("End", "ArrowLeft"), 18):
        values = [float(f"{each.values[step]:.4g}") for each in losses(recorded)]
        limit = time.monotonic() + 20
        while (read := read_with(page, curves, keys))[:2] != ["step", str(step)]:  # drawn anew between two keys
            assert time.monotonic() < limit, read
        assert [float(value) for value in (read[4], read[7])] == values
    page.keyboard.press("Escape")
    assert not curves.locator(".tip").is_visible()
    scores = page.get_by_role("group", name="Scores")
    eventually(lambda: tells(page, scores, "g.estimate circle"))
    assert scores.locator(".tip").inner_text().split() == ["sums.accuracy", "A", "1", "0.400", "[0.310,", "0.490]"]
    scores.get_by_role("button", name="Whole screen").click()
    page.wait_for_function("document.fullscreenElement")
    eventually(lambda: scores.locator(".place svg").bounding_box()["height"] > 600)


def test_text_of_models_loads_nothing_and_runs_nothing(recorded: Recorded, serve: Serve, visit: Visit) -> None:
    for part in ("answers", "gate", "log"):
        page = visit(f"{serve(recorded.home)}/run?id={recorded.first}&part={part}")
        page.wait_for_function("document.body.innerText.includes('evil.invalid')", timeout=20_000)
        assert page.locator("[data-testid=stMain] img").count() == 0
        assert page.locator("a[href*=evil], a[href^=javascript]").count() == 0
    assert "evil.invalid" in HOSTILE  # that no other machine was asked is checked when the test ends


def test_curves_move_while_a_run_trains(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    home = tmp_path / "home"
    trains = """
import sys, time
from components.settings import Settings
from components.tracking import Tracker
tracker = Tracker(Settings(), None, "tiny-live")
tracker.start("tiny", params={"seed": 1})
tracker.start("sft", stage="sft", tags={"stage.key": "ab"})
work = Settings().work / "sft" / "ab"
work.mkdir(parents=True, exist_ok=True)
for step in range(5000):
    at = time.time()
    said = {"kind": "metric", "value": 1 / (1 + step), "step": step, "time": at}
    tracker.log_stage_events("sft", [{**said, "name": "loss"}, {**said, "name": "grad_norm"}])
    (work / "events.jsonl").write_text('{"kind": "progress", "done": %d, "total": 5000, "time": 1.0}\\n' % step)
    time.sleep(0.1)
"""
    address = serve(home)
    process = subprocess.Popen([sys.executable, "-c", trains], env=_environment(home))
    try:
        while not (home / "work" / "sft" / "ab" / "events.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.1)
        page = visit(f"{address}/run?id=tiny-live")
        shown = page.get_by_text("sft: step")
        first = shown.inner_text()
        page.wait_for_function("old => !document.body.innerText.includes(old)", arg=first, timeout=60_000)
        no_stack_trace(page)
    finally:
        process.kill()
        process.wait()
    page.get_by_text("killed").first.wait_for(timeout=60_000)


def test_home_shows_what_comes_up_while_it_is_open(recorded: Recorded, tmp_path: Path, serve: Serve, visit: Visit) -> None:
    home = shutil.copytree(recorded.home, tmp_path / "home")
    page = visit(serve(home))
    waiting = page.get_by_role("link", name="Run failed")
    waiting.nth(1).wait_for()
    assert waiting.count() == 2
    record(Settings(home=home, tracking_uri=None, store=None, database_url=None), "tiny-5", "0.1", right=0, failing=True)
    waiting.filter(has_text="tiny-5").wait_for(timeout=90_000)
    waiting.nth(2).wait_for()
    no_stack_trace(page)


def sign_in(page: Any, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with accounts."""
    settings = Settings(home=tmp_path_factory.mktemp("team") / "home", database_url=None)
    accounts.create(settings, "ana", "admin", "correct horse")
    for name in ("rui", "eva"):
        accounts.create(settings, name, "reviewer", "battery staple")
    return settings


def test_pages_are_there_by_role_and_signing_in_is_asked_for(team: Settings, serve: Serve, visit: Visit) -> None:
    page = visit(asked := f"{serve(team.home)}/registry?model=support&version=3")
    sign_in(page, "rui", "wrong password")
    page.get_by_text("Name or password is wrong").wait_for()
    sign_in(page, "rui", "battery staple")
    page.get_by_role("heading", name="Registry").wait_for()  # where they wanted to go
    assert page.url == asked
    links = page.locator("[data-testid=stSidebarNavLink]").all_inner_texts()
    assert {"Home", "Chat", "Arena", "Playground", "Registry"} == {link.splitlines()[-1] for link in links}
    accounts.set_role(team, "rui", "engineer")
    page.get_by_role("link", name="Registry").click()
    page.get_by_role("link", name="Compare").wait_for()
    assert page.get_by_role("link", name="Accounts").count() == 0


def test_a_sign_in_outlives_its_page_and_ends_everywhere(team: Settings, serve: Serve, visit: Visit) -> None:
    page = visit(f"{serve(team.home)}/chat")
    sign_in(page, "eva", "battery staple")
    out = page.get_by_role("button", name="Sign out")
    out.wait_for()
    (cookie,) = [each for each in page.context.cookies() if each["name"].startswith("lapidar_session")]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert abs(cookie["expires"] - time.time() - sign_ins.LASTS) < 600
    assert cookie["value"] not in page.content() + page.evaluate("document.cookie + JSON.stringify(window.localStorage)")
    page.reload()
    out.wait_for()
    other = page.context.new_page()
    other.goto(f"{serve(team.home)}/arena")
    other.get_by_role("heading", name="Arena").wait_for()
    page.reload()
    out.click()
    page.get_by_role("button", name="Sign in").wait_for()
    other.get_by_role("link", name="Chat").click()
    other.get_by_role("button", name="Sign in").wait_for()
    page.context.add_cookies([cookie])  # a copy of it is worth nothing either
    page.reload()
    page.get_by_role("button", name="Sign in").wait_for()


def test_a_removed_account_is_out_at_once(team: Settings, serve: Serve, visit: Visit) -> None:
    accounts.create(team, "zoe", "engineer", "battery staple")
    page = visit(f"{serve(team.home)}/chat")
    sign_in(page, "zoe", "battery staple")
    page.get_by_role("link", name="Runs").wait_for()
    accounts.remove(team, "zoe")
    page.get_by_role("link", name="Arena").click()
    page.get_by_role("button", name="Sign in").wait_for()
    page.reload()
    page.get_by_role("button", name="Sign in").wait_for()


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", '"no ticket"', 401),
        ("application/json", "not JSON", 401),
        ("application/json", "[" * 900, 401),
        ("application/json", '"' + "x" * 100_000 + '"', 401),
        ("application/x-www-form-urlencoded", "ticket=x", 415),
        ("text/plain", '"x"', 415),
    ],
)
def test_what_is_no_ticket_sets_no_cookie(kind: str, body: str, status: int, team: Settings, serve: Serve) -> None:
    asked = urllib.request.Request(f"{serve(team.home)}/sign-in", body.encode(), {"Content-Type": kind})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=30)
    assert refused.value.code == status
    assert "set-cookie" not in refused.value.headers


def test_the_language_stays_from_page_to_page(recorded: Recorded, serve: Serve, visit: Visit) -> None:
    page = visit(serve(recorded.home))
    page.get_by_text("Português").click()
    page.get_by_role("heading", name="Início").wait_for()
    page.get_by_role("link", name="Execuções").click()
    page.get_by_role("heading", name="Execuções").wait_for()
    page.get_by_label("Filtro", exact=True).wait_for()


def test_a_portuguese_browser_is_answered_in_portuguese(recorded: Recorded, serve: Serve, visit: Visit) -> None:
    page = visit(serve(recorded.home), locale="pt-BR")
    page.get_by_role("heading", name="Início").wait_for()


def test_nobody_is_let_in_from_elsewhere_without_an_account(recorded: Recorded, serve: Serve, visit: Visit) -> None:
    page = visit(serve(recorded.home, STREAMLIT_SERVER_ADDRESS="0.0.0.0"))
    page.get_by_text("The dashboard is closed").wait_for()
    assert page.locator("[data-testid=stSidebarNavLink]").count() == 0


def _environment(home: Path) -> dict[str, str]:
    return {**{key: value for key, value in os.environ.items() if not key.startswith("LAPIDAR_")}, "LAPIDAR_HOME": str(home)}
