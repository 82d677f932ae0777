"""The playground without a browser: every cell is asked and scored, what fails is its own cell's, a reload finds the grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

from dashboards.views import playground

Opener = Callable[..., AppTest]
Serving = Callable[..., Any]


def said(page: AppTest) -> str:
    every = [*page.text, *page.markdown, *page.caption, *page.error, *page.info]
    return "\n".join(each.value for each in every).replace("\\", "")


def run(page: AppTest, prompts: str, **more: str) -> str:
    """Asks, waits for all answers, and draws them; returns the grid's name."""
    page.text_area("playground.prompts").set_value(prompts)
    for name, value in more.items():
        (page.text_area if name == "answers" else page.text_input)(f"playground.{name}").set_value(value)
    page.run()
    next(each for each in page.button if each.key == "playground.run").click().run()
    assert not page.exception
    found = page.query_params["grid"]
    name = found if isinstance(found, str) else found[0]
    assert playground._sweeps()[name].wait(20)
    page.run()
    assert not page.exception
    return name


def test_without_a_server_the_page_says_how_to_start_it(open_page: Opener) -> None:
    assert [each.value for each in open_page("playground").code] == ["lapidar up"]


def test_a_grid_is_asked_scored_and_found_again(open_page: Opener, serving: Serving) -> None:
    speaker = serving("m@champion")
    page = open_page("playground")
    name = run(page, "how many a?\n---\nhello", t="0, 0.5", p="0.9, 1", answers="7\nhi")
    asked = sorted((r["messages"][0]["content"], r["temperature"], r["top_p"]) for r in speaker.requests)
    settings = [(0.0, 1.0), (0.5, 0.9), (0.5, 1.0)]
    assert asked == [(prompt, *cell) for prompt in ("hello", "how many a?") for cell in settings]
    shown = said(page)
    assert shown.count('1 · The number behind "the answer is"]') == 3
    assert shown.count('0 · The number behind "the answer is"]') == 3
    assert "mean log p -0.69" in shown
    again = open_page("playground", grid=name)
    assert [each.value for each in again.text] == [each.value for each in page.text]


def test_what_makes_no_grid_is_told_before_anything_is_asked(open_page: Opener, serving: Serving) -> None:
    speaker = serving("m@champion")
    page = open_page("playground")
    page.text_area("playground.prompts").set_value("hello")
    page.text_input("playground.t").set_value("warm").run()
    assert "'warm' is no number" in said(page)
    assert next(each for each in page.button if each.key == "playground.run").disabled
    assert speaker.requests == []


def test_a_cell_that_fails_says_so_in_its_place(open_page: Opener, serving: Serving) -> None:
    serving("m@champion")
    page = open_page("playground")
    run(page, "die\n---\nhello", t="0")
    assert "in the middle of the answer" in said(page)
    assert "m@champion heard: hello" in [each.value for each in page.text]


def test_a_running_grid_can_be_stopped_and_keeps_what_came(open_page: Opener, serving: Serving) -> None:
    serving("m@champion")
    page = open_page("playground")
    page.text_area("playground.prompts").set_value("slow")
    page.text_input("playground.t").set_value("0.5")
    page.number_input("playground.n").set_value(10).run()
    next(each for each in page.button if each.key == "playground.run").click().run()
    found = page.query_params["grid"]
    sweep = playground._sweeps()[found if isinstance(found, str) else found[0]]
    assert not sweep.look().done
    next(each for each in page.button if each.key == "playground.stop").click().run()
    assert sweep.wait(20)
    page.run()
    assert "answers were left out: it was stopped." in said(page)


def test_a_grid_that_is_forgotten_is_told(open_page: Opener, serving: Serving) -> None:
    serving("m@champion")
    assert "The dashboard was restarted" in said(open_page("playground", grid="gone"))
