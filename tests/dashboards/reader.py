"""Somebody at a browser: what they do on the dashboard's pages, and what is said where a page isn't what they expect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components import local_services
from components.settings import Settings

from .conftest import settle

WAIT = 120.0
PASSWORD = "correct horse"


class Unmet(AssertionError):
    """A page didn't become what was expected of it."""


class Reader:
    """Somebody at a browser of their own, who signs in once and then only clicks.

    What isn't met within ``WAIT`` seconds fails with what was expected, the page's address and words, and a picture of it.
    """

    def __init__(self, chromium: Any, home: Path, name: str, pictures: Path) -> None:
        self.home, self.name, self.pictures = Settings(home=home), name, pictures
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
        """A link on Home, where what has come up elsewhere appears by itself."""
        self.open("Home")
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

    def sets(self, sampling: Mapping[str, str], samples: str = "") -> None:
        """In the chat's settings."""
        self.click("Settings")
        for label, value in sampling.items():
            self.write(label, value, "Enter")
        if samples:
            self.page.get_by_role("tab", name="Self-consistency").click()
            self.write("Samples", samples, "Enter")
        self.press("Escape")

    def asks(self, question: str) -> None:
        """In the chat."""
        field = self.page.get_by_test_id("stChatInputTextArea")
        with self.expecting("to ask a question"):
            field.fill(question)
            field.press("Enter")
            self.main.get_by_text(question, exact=True).first.wait_for()

    def reads(self) -> None:
        """Waits for something of the answer that is on its way; it may begin with blanks."""
        running = self.page.get_by_test_id("stChatMessage").filter(has=self.page.get_by_role("button", name="Stop"))
        with self.expecting("words of an answer"):
            running.locator("[data-testid=stText], .text").filter(has_text=re.compile(r"\w")).first.wait_for()

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
