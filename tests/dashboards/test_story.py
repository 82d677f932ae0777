"""The one long story in a real browser, on what ``lapidar up`` starts: runs, a chat, votes, a training, a new champion, and back.

Two engineers sign in, because the policy asks for two. The dashboard is killed while the training runs that it started.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from components import local_services
from components.registry import Registry
from components.reviews import accounts, conversations
from components.reviews.standing import votes
from components.settings import Settings
from flows import server
from tests.flows.conftest import Home

from .conftest import eventually
from .reader import PASSWORD, WAIT, Reader

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
PROMPTS = [f"Tom has {number} apples and buys 3. How many?" for number in range(20, 30)]
"""By their hashes five are held out, so that both sides keep pairs where models happen to answer a prompt alike."""
SHORT = """
    register.approvals=2 register.max_unusable=1.0
    data.max_number=12 data.corpus=300 data.sft=40 data.preference=40 data.prompts=24 data.heldout=10
    model.pretrain.hidden_size=64 model.pretrain.intermediate_size=64 model.pretrain.layers=2 model.pretrain.heads=2
    model.pretrain.kv_heads=2 model.pretrain.vocab_size=320 model.pretrain.max_steps=60 model.pretrain.logging_every=10
    model.pretrain.context=32768
    sft.batch_size=8 sft.max_steps=12 sft.logging_every=2 align.0.batch_size=8 align.0.max_steps=3 align.0.logging_every=1
    align.1.batch_size=8 align.1.num_generations=4 align.1.max_completion_length=16 align.1.lr=1e-3 align.1.logging_every=1
    export.group_size=32 export.samples=8 export.max_length=64
"""
REWARD = "align.1.rewards=[{method: length, least: 3, most: 5, slack: 12}]"  # a model this small never calculates right
ENDLESS = 32000
"""Tokens of each of 16 samples: minutes of computing. Where tokens that stand there become likelier, none is the end's."""
VOTED = """
    model.source=models:/quickstart/1 register.name=quickstart register.approvals=2 register.max_unusable=1.0
    align.0.lr=1e-3 align.0.logging_every=1
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose services run, with two engineers and two runs of the quickstart that differ in one setting."""
    home = Home(tmp_path_factory.mktemp("story") / "home")
    settings = Settings(home=home.path)
    for name in ("ana", "rui"):
        accounts.create(settings, name, "engineer", PASSWORD)
    home.own_ports()  # whoever still speaks to a home that had the usual ports mustn't reach this one
    home.command("up")
    try:
        for steps in (2, 4):
            home.command("run", "quickstart", *SHORT.split(), REWARD, f"align.1.max_steps={steps}", "--json")
        yield home
    finally:
        home.command("down")
    assert home.left_behind() == []


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


def measured(home: Home, name: str) -> float:
    """One of the model server's numbers, over all models."""
    with urllib.request.urlopen(f"{local_services.address(Settings(home=home.path), 'models')}/metrics", timeout=60) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    return sum(float(value) for label, value, *_ in lines if label.partition("{")[0] == f"lapidar_{name}")


def trains(home: Home) -> bool:
    return any('"progress"' in events.read_text() for events in home.path.glob("work/align/*/events.jsonl"))


def champion(home: Home) -> str:
    return Registry(Settings(home=home.path)).resolve("models:/quickstart@champion").version


def test_from_two_runs_to_a_new_champion_and_back(lived: Home, chromium: Any, tmp_path: Path) -> None:
    ana, rui = Reader(chromium, lived.path, "ana", tmp_path), Reader(chromium, lived.path, "rui", tmp_path)
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
    with ana.expecting("scores, curves and seconds"):
        for drawn in ("g.estimate", "path.line[d*=L]", "[data-testid=stVegaLiteChart]"):
            ana.main.locator(drawn).first.wait_for()
    ana.follow("B ")
    ana.at("quickstart")
    ana.sees("Which")
    with ana.expecting("the first version's link: the newest run is A"):
        ana.main.get_by_role("link", name="quickstart 1").wait_for()


def the_version_answers_until_it_is_stopped(ana: Reader, home: Home) -> None:
    """It repeats itself for longer than any wait here lasts, and what comes after the click finds a server that is free."""
    ana.open("Home")
    ana.follow("Talk to it")
    ana.at("Chat")
    ana.sets({"Temperature": "1.5", "Repetition penalty": "0.2", "Longest answer": str(ENDLESS)}, samples="16")
    ana.asks("Tom has 3 apples and buys 4. How many?")
    ana.reads()
    ana.click("Stop")
    ana.sees("Stopped; this is what came until then.")
    eventually(lambda: measured(home, "running_requests") == 0, 2 * WAIT, "the server still answers what was stopped")
    assert 2 <= measured(home, "generated_tokens_total") < 16 * ENDLESS
    ana.sets({"Repetition penalty": "1", "Longest answer": "48"})
    ana.asks("And with 2 more?")
    with ana.expecting("a second answer that is whole: none is asked for again while one is on its way"):
        ana.page.get_by_role("button", name="Retry", disabled=False).nth(1).wait_for()
    ana.rest()
    kept = conversations.listed(ana.home, ana.name)[0]
    _, cut, _, whole = conversations.load(ana.home, ana.name, kept.id).messages
    assert cut.content
    assert cut.said is not None
    assert (cut.said.version, cut.details["finish"]) == ("models:/quickstart/1", "stopped")
    assert whole.details["finish"] in ("stop", "length")
    assert len(whole.details["samples"]) == 16  # what wasn't set anew has stayed


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
    ana.fill(ana.main.locator("[data-testid=stNumberInput] input"), "120")
    ana.click("Start a run")
    ana.sees("waits for a worker now")


def the_dashboard_is_killed_and_the_training_goes_on(ana: Reader, home: Home) -> None:
    def process() -> Any:
        return next((s["pid"] for s in local_services.state(ana.home)["services"] if s["name"] == "dashboard"), None)

    eventually(lambda: trains(home), 2 * WAIT, "the training didn't begin")
    with standing_still(processes(home, "components._warm")):  # so that it can't have ended before the page has been seen
        ana.open("Home")
        ana.sees("dpo: step")
        (run,) = home.path.glob("runs/feedback-*")
        killed = process()
        os.kill(killed, signal.SIGKILL)
        assert not (run / "report.json").exists()
    eventually(lambda: process() not in (None, killed), 2 * WAIT, "the dashboard wasn't started again")
    health = f"{local_services.address(ana.home, 'dashboard')}/_stcore/health"
    eventually(lambda: server.answers(health), 2 * WAIT, "the dashboard doesn't answer")
    ana.page.reload()
    with ana.expecting("to be signed in as before"):
        ana.page.get_by_role("button", name="Sign out").wait_for()
    eventually((run / "report.json").exists, 2 * WAIT, "the training didn't go on")
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
