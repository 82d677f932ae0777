"""The one long story in a real browser, on what ``lapidar up`` starts: runs, a chat, votes, a training, a new champion, and back.

Two engineers sign in, because the policy asks for two. The dashboard is killed while the training runs that it started.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from components import local_services
from components.registry import Registry
from components.reviews import accounts, conversations
from components.reviews.standing import votes
from components.settings import Settings
from flows import server
from tests.flows.conftest import Home

from .conftest import settle

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
WAIT = 120.0
PASSWORD = "correct horse"
PROMPTS = [f"Tom has {number} apples and buys 3. How many?" for number in range(10)]
SHORT = """
    register.approvals=2 register.max_unusable=1.0
    data.max_number=12 data.corpus=300 data.sft=40 data.preference=40 data.prompts=24 data.heldout=10
    model.pretrain.hidden_size=64 model.pretrain.intermediate_size=64 model.pretrain.layers=2 model.pretrain.heads=2
    model.pretrain.kv_heads=2 model.pretrain.vocab_size=320 model.pretrain.max_steps=60 model.pretrain.logging_every=10
    sft.batch_size=8 sft.max_steps=12 sft.logging_every=2 align.0.batch_size=8 align.0.max_steps=3 align.0.logging_every=1
    align.1.batch_size=8 align.1.num_generations=4 align.1.max_completion_length=16 align.1.lr=1e-3 align.1.logging_every=1
    export.group_size=32 export.samples=8 export.max_length=64
"""
REWARD = "align.1.rewards=[{method: length, least: 3, most: 5, slack: 12}]"  # a model this small never calculates right
VOTED = """
    model.source=models:/quickstart/1 register.name=quickstart register.approvals=2 register.max_unusable=1.0
    align.0.lr=1e-3 align.0.logging_every=1
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose services run, with two engineers and two runs of the quickstart that differ in one setting."""
    home = Home(tmp_path_factory.mktemp("story") / "home")
    for name in ("ana", "rui"):
        accounts.create(Settings(home=home.path), name, "engineer", PASSWORD)
    home.command("up")
    try:
        for steps in (2, 4):
            home.command("run", "quickstart", *SHORT.split(), REWARD, f"align.1.max_steps={steps}", "--json")
        yield home
    finally:
        home.command("down")
    assert home.left_behind() == []


class Unmet(AssertionError):
    """A page didn't become what was expected of it."""


class Reader:
    """Somebody at a browser of their own, who signs in once and then only clicks.

    What isn't met within ``WAIT`` seconds fails with what was expected, the page's address and words, and a picture of it.
    """

    def __init__(self, chromium: Any, home: Home, name: str, pictures: Path) -> None:
        self.home, self.name, self.pictures = Settings(home=home.path), name, pictures
        self.page = chromium.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        self.page.set_default_timeout(1000 * WAIT)
        self.main = self.page.locator("[data-testid=stMain], [data-testid=stAppScrollToBottomContainer]")

    @contextmanager
    def expecting(self, what: str) -> Iterator[None]:
        from playwright.sync_api import Error

        try:
            yield
        except Unmet:
            raise
        except (Error, AssertionError) as error:
            kept = self.pictures / f"{self.name}.png"
            self.page.screenshot(path=str(kept), full_page=True)
            place = urlsplit(self.page.url)
            words = self.page.locator("body").inner_text()[-3000:]
            raise Unmet(
                f"{self.name} expected {what} on {place.path}?{place.query} ({type(error).__name__}); picture: {kept}; "
                f"the page says:\n{words}"
            ) from error

    def sign_in(self) -> None:
        with self.expecting("to sign in"):
            self.page.goto(local_services.address(self.home, "dashboard"))
            self.page.get_by_label("Name").fill(self.name)
            self.page.get_by_label("Password", exact=True).fill(PASSWORD)
            self.click("Sign in")
            self.page.get_by_role("button", name="Sign out").wait_for()

    def open(self, view: str) -> None:
        """By the link in the sidebar."""
        with self.expecting(f"the sidebar's link {view!r}"):
            self.page.get_by_test_id("stSidebarNav").get_by_role("link", name=view, exact=True).click()
        self.at(view)

    def follow(self, link: str) -> None:
        """A link on the page."""
        with self.expecting(f"a link {link!r}"):
            self.main.get_by_role("link", name=link).last.click()

    def at(self, title: str) -> None:
        """Waits for the page with this title, whole."""
        with self.expecting(f"the page {title!r}"):
            self.main.get_by_role("heading", name=title, exact=True).first.wait_for()
            self.rest()
            assert self.page.get_by_test_id("stException").count() == 0

    def rest(self) -> None:
        """Waits until the script has run through: a key that is pressed earlier is lost."""
        with self.expecting("a page at rest"):
            settle(self.page)

    def finds(self, link: str) -> None:
        """A link on Home, which shows within ten seconds what has come up elsewhere."""
        self.open("Home")
        found, limit = self.main.get_by_role("link", name=link), time.monotonic() + 60
        with self.expecting(f"a link {link!r} on Home"):
            while found.count() == 0:
                assert time.monotonic() < limit
                self.page.wait_for_timeout(1000)
                self.page.reload()
                settle(self.page)
        self.follow(link)

    def click(self, button: str) -> None:
        with self.expecting(f"a button {button!r}"):
            self.page.get_by_role("button", name=button).first.click()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def turn_to(self, section: str) -> None:
        """One of several parts of a page, or what hides behind a line."""
        with self.expecting(f"{section!r} to turn to"):
            self.main.get_by_text(section, exact=True).click()
        self.rest()

    def sees(self, text: str) -> None:
        with self.expecting(f"the words {text!r}"):
            self.page.get_by_text(text).first.wait_for()

    def asks(self, question: str) -> None:
        """In the chat."""
        field = self.page.get_by_test_id("stChatInputTextArea")
        with self.expecting("to ask a question"):
            field.fill(question)
            field.press("Enter")
            self.main.get_by_text(question, exact=True).first.wait_for()

    def write(self, label: str, text: str, last: str = "Tab") -> None:
        with self.expecting(f"a field {label!r}"):
            self.fill(self.page.get_by_label(label, exact=True).and_(self.page.locator("input, textarea")).first, text, last)

    def fill(self, field: Any, text: str, last: str = "Tab") -> None:
        with self.expecting(f"a field that takes {text!r}"):
            field.fill(text)
            field.press(last)
        self.rest()

    def choose(self, label: str, *options: str) -> None:
        """Some of a selector's options."""
        field = self.page.get_by_role("combobox", name=label)
        for option in options:
            with self.expecting(f"the option {option!r} of {label!r}"):
                field.click()
                field.press_sequentially(option)
                self.page.get_by_role("option", name=option, exact=True).click()
            self.rest()
        self.press("Escape")

    def decides(self, button: str, reason: str) -> None:
        """In the registry's panel."""
        self.write("Reason", reason)
        self.click(button)


def eventually(check: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + 2 * WAIT
    while not check():
        assert time.monotonic() < limit, f"after {2 * WAIT:.0f} s {what}"
        time.sleep(0.1)


def processes(home: Home, what: str) -> list[psutil.Process]:
    """The home's processes whose command line has a word."""
    return [each for each in home.processes() if any(what in word for word in each.cmdline())]


@contextmanager
def standing_still(some: list[psutil.Process]) -> Iterator[None]:
    assert some
    for each in some:
        each.suspend()
    try:
        yield
    finally:
        for each in some:
            each.resume()


def trains(home: Home) -> bool:
    return any('"progress"' in events.read_text() for events in home.path.glob("work/align/*/events.jsonl"))


def champion(home: Home) -> str:
    return Registry(Settings(home=home.path)).resolve("models:/quickstart@champion").version


def test_from_two_runs_to_a_new_champion_and_back(lived: Home, chromium: Any, tmp_path: Path) -> None:
    ana, rui = Reader(chromium, lived, "ana", tmp_path), Reader(chromium, lived, "rui", tmp_path)
    ana.sign_in()
    two_runs_are_compared_and_one_is_opened(ana)
    the_version_answers_until_it_is_stopped(ana, lived)
    two_people_approve(ana, rui, lived)
    ten_votes_are_cast_blind(ana)
    votes_become_a_dataset_and_a_schedule(lived)
    a_training_is_started(ana)
    the_dashboard_is_killed_and_the_training_goes_on(ana, lived)
    the_gate_is_overridden(ana, rui, lived)
    the_old_champion_comes_back(rui, lived)


def two_runs_are_compared_and_one_is_opened(ana: Reader) -> None:
    ana.open("Runs")
    table = ana.page.get_by_test_id("stDataFrame")
    box = table.bounding_box()
    for row in range(2):
        ana.page.mouse.click(box["x"] + 16, box["y"] + 38 + 35 * row + 17)
        ana.rest()
    ana.click("Compare (2)")
    ana.at("Compare")
    ana.sees("no difference shown")
    with ana.expecting("charts of scores, curves and seconds"):
        ana.main.get_by_test_id("stVegaLiteChart").nth(2).wait_for()
    ana.follow("B ")
    ana.at("quickstart")
    ana.sees("Which")
    with ana.expecting("the first version's link: the newest run is A"):
        ana.main.get_by_role("link", name="quickstart 1").wait_for()


def the_version_answers_until_it_is_stopped(ana: Reader, home: Home) -> None:
    """Many long samples: once to their end, once until a click."""
    ana.open("Home")
    ana.follow("Talk to it")
    ana.at("Chat")
    ana.click("Settings")
    ana.write("Temperature", "5", "Enter")
    ana.page.get_by_role("tab", name="Self-consistency").click()
    ana.write("Samples", "16", "Enter")
    ana.press("Escape")
    ana.asks("Tom has 3 apples and buys 4. How many?")
    ana.sees("All 16 samples")
    ana.rest()
    (model,) = processes(home, "components.inference.server.worker")
    with standing_still([model]):
        ana.asks("And with 2 more?")
        speeds = ana.main.get_by_text("tokens/s")
        with ana.expecting("a second speed, of the answer on its way"):
            for _ in range(600):
                if speeds.count() == 2:
                    break
                model.resume()  # for moments only, so that it can't have ended before the click
                time.sleep(0.004)
                model.suspend()
                ana.page.wait_for_timeout(200)
            assert speeds.count() == 2
        ana.click("Stop")
        ana.sees("Stopped; this is what came until then.")
    kept = conversations.listed(ana.home, ana.name)[0]
    _, whole, _, cut = conversations.load(ana.home, ana.name, kept.id).messages
    assert whole.details["finish"] in ("stop", "length")
    assert cut.said is not None
    assert (cut.said.version, cut.details["finish"]) == ("models:/quickstart/1", "stopped")


def two_people_approve(ana: Reader, rui: Reader, home: Home) -> None:
    ana.open("Registry")
    ana.decides("Approve as champion", "the better one of the two")
    ana.sees("Your agreement is kept: 1 of 2")
    ana.decides("Approve as champion", "once more")
    ana.sees("ana agreed already")
    rui.sign_in()
    rui.follow("Needs another approval")
    rui.at("Registry")
    rui.sees("1 of 2 agreed: ana")
    rui.decides("Approve as champion", "seen it, too")
    rui.sees("models:/quickstart/2 is the champion now.")
    assert champion(home) == "2"


def ten_votes_are_cast_blind(ana: Reader) -> None:
    ana.open("Arena")
    ana.click("Add prompts")
    ana.write("Prompts for all reviewers, one a line", "\n".join(PROMPTS), "Control+Enter")
    ana.click("Add to the queue")
    for number in range(len(PROMPTS)):
        with ana.expecting(f"match {number + 1}"):
            ana.page.get_by_role("button", name="A is better").wait_for()
        ana.rest()
        assert "models:/" not in ana.main.inner_text()
        ana.press("ab"[number % 2])
        ana.sees("You voted for models:/quickstart/")
        ana.rest()
        ana.press("n")
    ana.sees("You have voted on every prompt")
    assert [vote.choice for vote in votes(ana.home)] == ["a", "b"] * 5


def votes_become_a_dataset_and_a_schedule(home: Home) -> None:
    built = home.command("feedback", "build", "feedback", *VOTED.split(), "--json")
    assert sum(split["rows"] for split in built["splits"].values()) + sum(built["notes"]["left_out"].values()) == 10
    home.command("feedback", "run", "feedback", *VOTED.split(), "--cron", "0 3 1 1 *")


def a_training_is_started(ana: Reader) -> None:
    """With two settings changed: the dataset isn't new any more, and the training takes long enough to be watched."""
    ana.open("Flows")
    ana.turn_to("Schedules")
    ana.turn_to("Start with changed parameters")
    ana.choose("Settings to change", "only_if_new", "recipe.align.0.epochs")
    ana.main.get_by_test_id("stCheckbox").click()
    ana.fill(ana.main.locator("[data-testid=stNumberInput] input"), "12")
    ana.click("Start a run")
    ana.sees("waits for a worker now")


def the_dashboard_is_killed_and_the_training_goes_on(ana: Reader, home: Home) -> None:
    def process() -> Any:
        return next((s["pid"] for s in local_services.state(ana.home)["services"] if s["name"] == "dashboard"), None)

    eventually(lambda: trains(home), "the training didn't begin")
    with standing_still(processes(home, "components._warm")):  # so that it can't have ended before the page has been seen
        ana.open("Home")
        ana.sees("dpo: step")
        (run,) = home.path.glob("runs/feedback-*")
        killed = process()
        os.kill(killed, signal.SIGKILL)
        assert not (run / "report.json").exists()
    eventually(lambda: process() not in (None, killed), "the dashboard wasn't started again")
    health = f"{local_services.address(ana.home, 'dashboard')}/_stcore/health"
    eventually(lambda: server.answers(health), "the dashboard doesn't answer")
    ana.page.reload()
    with ana.expecting("to be signed in as before"):
        ana.page.get_by_role("button", name="Sign out").wait_for()
    eventually((run / "report.json").exists, "the training didn't go on")
    report = json.loads((run / "report.json").read_bytes())
    assert report["version"]["uri"] == "models:/quickstart/3"
    dpo = next(stage for stage in report["stages"] if stage["name"] == "dpo")
    assert dpo["status"] == "ran"
    ana.open("Run")
    ana.follow(run.name)
    ana.at("feedback")
    ana.sees("quickstart 3")


def the_gate_is_overridden(ana: Reader, rui: Reader, home: Home) -> None:
    """The recipe asks for votes on the new version, and nobody has voted on it yet."""
    ana.open("Registry")
    ana.sees("0 votes of 0 reviewers")
    ana.click("Decide the gate again")
    ana.sees("The gate was decided again: unknown.")
    ana.decides("Override the gate", "the votes will follow")
    ana.sees("Your agreement is kept: 1 of 2")
    rui.page.reload()  # the dashboard that drew it was killed
    rui.finds("Needs another approval")
    rui.at("Registry")
    rui.decides("Override the gate", "agreed")
    rui.sees("models:/quickstart/3 is the champion now.")
    assert champion(home) == "3"
    ana.finds("quickstart 3")
    ana.at("Registry")
    ana.sees("champion")


def the_old_champion_comes_back(rui: Reader, home: Home) -> None:
    rui.turn_to("Roll back version 3")
    rui.click("Roll back")
    rui.sees("Write a reason")
    rui.decides("Roll back", "it says less")
    rui.sees("models:/quickstart/2 is the champion again.")
    assert champion(home) == "2"
    rui.turn_to("Audit log")
    rui.sees("The log is whole")
    entries = home.command("audit", "--json")["entries"]
    moved = [(e["action"], e["who"], e["to_version"]) for e in entries if e["alias"] == "champion"]
    assert moved == [("promote", "ana, rui", "2"), ("override", "ana, rui", "3"), ("rollback", "rui", "2")]
