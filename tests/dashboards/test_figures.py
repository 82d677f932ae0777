"""The script of the figures in a real browser, without the pages around it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from dashboards.ui import figures

pytestmark = pytest.mark.browser
SAID = {"decimal": ".", "thousands": ",", "larger": "Whole screen", "alt": "loss", "height": 260, "titles": ["step", "loss"]}


def draw(chromium: Any, **data: Any) -> Any:
    """A page with one figure of this data."""
    script = Path(figures.__file__).with_name("figures.js").read_bytes()
    page = chromium.new_page(viewport={"width": 800, "height": 400})
    page.set_content(f"<body>{figures._HTML}</body>")
    source = f"data:text/javascript;base64,{base64.b64encode(script).decode()}"
    begin = "async ([source, data]) => (await import(source)).default({ data, parentElement: document.body })"
    page.evaluate(begin, [source, SAID | data])
    return page


def line(name: str, x: list[float], y: list[float]) -> dict[str, Any]:
    return {"name": name, "colour": "#0d9488", "x": x, "y": y, "raw": None}


def test_a_line_of_one_point_is_seen(chromium: Any) -> None:
    page = draw(
        chromium, lines=[line("A", [5], [1.5]), line("B", [1, 2, 9], [3, 2, 1])], names=["A", "B"], colours=["#000", "#fff"]
    )
    assert page.locator("circle[data-name=A]").bounding_box()["width"] > 4
    assert page.locator("circle[data-name=B]").count() == 0
    assert page.locator("path[data-name=B]").bounding_box()["width"] > 100
    page.close()


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "</svg><b>A</b>", "a & b"])
def test_names_are_text(chromium: Any, name: str) -> None:
    rows = [{"label": name, "name": name, "colour": "#000", "value": 0.5, "low": 0.4, "high": 0.6}]
    page = draw(chromium, rows=rows, labels=[name], names=[name, "other"], colours=["#000", "#fff"], zero=False)
    assert page.locator("img, b").count() == 0
    assert page.locator("svg title").first.text_content() == name
    assert page.locator(".name").first.text_content() == name
    page.close()
