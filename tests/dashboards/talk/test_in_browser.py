"""Chat, Arena and Playground in a real browser: hover, keyboard, stop, reload, closed pages, and nothing fetched from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from components.reviews import arena, conversations
from components.reviews.standing import votes
from dashboards.access import _user
from tests.dashboards.conftest import eventually, settle

pytestmark = pytest.mark.browser
OWNER = _user()
WAIT = 30_000


@pytest.fixture
def page(chromium: Any, site: Any) -> Iterator[Any]:
    """A page that notes what it asks other hosts for, dialogs, and errors of its scripts."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT)
    found = context.new_page()
    found.outside, found.trouble = [], []
    found.on(
        "request",
        lambda request: None if request.url.startswith((site.url, "data:", "blob:")) else found.outside.append(request.url),
    )
    found.on("dialog", lambda dialog: found.trouble.append(dialog.message))
    found.on("pageerror", lambda error: found.trouble.append(str(error)))
    yield found
    context.close()
    assert found.trouble == []


def ask(page: Any, question: str) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill(question)
    box.press("Enter")


def test_tokens_tell_their_alternatives_and_markup_stays_text(page: Any, site: Any) -> None:
    begun = conversations.create(site.home, OWNER, settings={"model": "m@champion", "alternatives": 2})
    page.goto(f"{site.url}/chat?c={begun}")
    ask(page, "hostile")
    token = page.locator(".token").first
    token.hover()
    tip = page.locator(".tip")
    tip.wait_for(state="visible")
    assert "50.0 %" in tip.inner_text()
    assert "other0" in tip.inner_text()
    assert "<img src=http://evil.invalid" in token.inner_text()
    assert page.locator("img[src*=evil], a[href*=evil]").count() == 0
    assert [url for url in page.outside if "evil" in url] == []


def test_code_keeps_its_indentation(page: Any, site: Any) -> None:
    page.goto(f"{site.url}/chat?model=m@champion")
    ask(page, "code")
    shown = page.get_by_test_id("stChatMessage").last.locator(".text")
    shown.wait_for()
    assert shown.evaluate("e => e.textContent") == "    if a < b:\n        <b>a</b>\n    return"
    assert shown.inner_text() == "    if a < b:\n        <b>a</b>\n    return"
    assert shown.locator("b").count() == 0


def test_settings_that_are_opened_while_the_page_is_still_drawn_stay_open(page: Any, site: Any) -> None:
    page.goto(f"{site.url}/chat?model=m@champion")
    page.get_by_role("button", name="Settings").click()  # at once
    page.evaluate("window.opened = document.querySelector('[data-testid=stPopoverBody]')")
    settle(page)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(300)
    assert page.evaluate("window.opened !== null && window.opened.isConnected")


@pytest.mark.parametrize("leaving", ["at once", "by Escape"])
def test_a_setting_that_was_typed_just_before_the_question_counts(leaving: str, page: Any, site: Any) -> None:
    page.goto(f"{site.url}/chat?model=m@champion")
    page.locator("i.listening").wait_for(state="attached")  # the page's script has been there, so it isn't about to begin
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("spinbutton", name="Token alternatives").fill("3")
    if leaving == "by Escape":
        page.keyboard.press("Escape")
    ask(page, f"quick {leaving}")  # without waiting for anything
    page.get_by_text(f"m@champion heard: quick {leaving}").wait_for()
    (asked,) = [each for each in site.speaker.requests if each["messages"][-1]["content"] == f"quick {leaving}"]
    assert asked["top_logprobs"] == 3


def test_settings_go_on_with_their_conversation(page: Any, site: Any) -> None:
    begun = conversations.create(site.home, OWNER, settings={"model": "m@champion", "temperature": 1.5, "context": "window"})
    page.goto(f"{site.url}/chat?c={begun}")
    ask(page, "slowly")
    page.get_by_text("word19").wait_for()
    page.get_by_role("button", name="Retry").wait_for()
    settle(page)
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("spinbutton", name="Top-k").fill("7")
    page.keyboard.press("Escape")
    ask(page, "quick afterwards")
    page.get_by_text("m@champion heard: quick afterwards").wait_for()
    (asked,) = [each for each in site.speaker.requests if each["messages"][-1]["content"] == "quick afterwards"]
    assert (asked["temperature"], asked["top_p"], asked["top_k"]) == (1.5, 1.0, 7)
    assert asked["lapidar"]["context"]["policy"] == "window"


def test_an_answer_is_stopped_by_key_and_the_slot_is_free(page: Any, site: Any) -> None:
    page.goto(f"{site.url}/chat?model=m@champion")
    ask(page, "slow and endless")
    page.get_by_text("word3").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Stopped; this is what came until then.").wait_for()
    eventually(lambda: site.speaker.running == 0)
    assert page.get_by_role("button", name="Retry").is_enabled()


def test_a_reloaded_page_goes_on_and_a_closed_one_harms_nothing(page: Any, site: Any) -> None:
    page.goto(f"{site.url}/chat?model=m@champion")
    ask(page, "slow again")
    page.get_by_text("word2").wait_for()
    page.reload()
    page.get_by_text("word9").wait_for()
    name = page.url.split("c=")[1].split("&")[0]
    page.goto("about:blank")
    eventually(lambda: len(conversations.load(site.home, OWNER, name).messages) == 2)
    answer = conversations.load(site.home, OWNER, name).messages[1]
    assert (len(answer.content.split()), answer.details["finish"]) == (100, "stop")


def test_every_vote_has_its_key_and_is_blind(page: Any, site: Any) -> None:
    arena.add_prompts(site.home, [f"how many of {number}?" for number in range(4)], "somebody")
    page.goto(f"{site.url}/arena?models=models:/m/1,models:/n/1")
    keys: dict[str, arena.Choice] = {"a": "a", "b": "b", "t": "tie", "x": "both_bad"}
    given = []
    for number, key in enumerate(keys):
        page.get_by_role("button", name="A is better").wait_for()
        page.get_by_text(f"how many of {number}?", exact=True).wait_for()
        main = page.get_by_test_id("stMain").inner_text()
        assert "models:/m/1" not in main
        assert "models:/n/1" not in main
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()  # a key pressed earlier is lost
        page.keyboard.press(key)
        given.append(keys[key])
        page.get_by_role("button", name="Next").wait_for()
        assert "models:/m/1" in page.get_by_test_id("stMain").inner_text()
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.keyboard.press("n")
    page.get_by_text("You have voted on every prompt").wait_for()
    assert [vote.choice for vote in votes(site.home)] == given


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(chromium: Any, site: Any, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    context.set_default_timeout(WAIT)
    found = context.new_page()
    for view, last in {"chat": "Beside it", "arena": "Longest answer", "playground": "Longest answer"}.items():
        found.goto(f"{site.url}/{view}")
        found.get_by_text(last).first.wait_for()
        wide = "[...document.querySelectorAll('[data-testid=stMain] *')].filter(e => e.getBoundingClientRect().right > 391).length"
        assert found.evaluate(wide) == 0
    background = found.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    context.close()
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
