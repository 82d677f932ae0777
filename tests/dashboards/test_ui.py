"""What all views share: words, safe text, exports, numbers."""

import ast
import json
import string
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from streamlit.testing.v1 import AppTest

import dashboards
from dashboards.navigation import VIEWS
from dashboards.ui import export, numbers, safe
from dashboards.ui.text import FOLDER, LANGUAGES

ROOT = Path(dashboards.__file__).parent
FILES = sorted({file.name.split(".")[0] for file in FOLDER.glob("*.yaml")})


def words(view: str, language: str) -> dict[str, str]:
    return yaml.safe_load((FOLDER / f"{view}.{language}.yaml").read_bytes()) or {}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("view", FILES)
def test_every_language_has_all_words_with_the_same_places_to_fill(view: str) -> None:
    english = words(view, "en")
    for language in LANGUAGES:
        found = words(view, language)
        assert found.keys() == english.keys()
        assert all(isinstance(text, str) and text.strip() for text in found.values())
        assert {key: fields(text) for key, text in found.items()} == {key: fields(text) for key, text in english.items()}


def asked() -> set[str]:
    """Keys of all calls of ``t`` in the dashboard; what is filled in by a program stands as ``*``."""
    calls = [node for file in ROOT.rglob("*.py") for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    first = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "t"]
    return {
        "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in getattr(each, "values", [each]))
        for each in first
    }


def test_all_words_are_used_and_all_that_are_used_are_there() -> None:
    known, used = {f"{view}.{key}" for view in FILES for key in words(view, "en")}, asked()
    exact, patterns = {key for key in used if "*" not in key}, [key for key in used if "*" in key and key != "*"]
    assert exact <= known, f"not in the catalogue: {sorted(exact - known)}"
    assert all(any(fnmatch(key, pattern) for key in known) for pattern in patterns)
    unused = {key for key in known - exact if not any(fnmatch(key, pattern) for pattern in patterns)}
    assert not unused, f"nobody shows: {sorted(unused)}"


def test_every_view_has_a_file_and_a_name() -> None:
    named = words("ui", "en")
    for view in VIEWS:
        assert (ROOT / "views" / f"{view.name}.py").is_file()
        assert f"page_{view.name}" in named


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_an_exported_cell_is_no_formula(text: str) -> None:
    assert export.cell(text) == f"'{text}"
    assert export.to_csv([{text: text}]).count("'") == 2


def test_numbers_are_exported_as_numbers() -> None:
    assert export.to_csv([{"loss": -1.5, "n": 3, "name": "a,b"}]) == 'loss,n,name\n-1.5,3,"a,b"\n'


def test_text_of_others_stays_text() -> None:
    assert safe.plain("![x](http://evil/x.png)") == "\\!\\[x\\]\\(http\\:\\/\\/\u2060evil\\/x\\.png\\)"
    assert safe.plain("www.evil.org a@b.org") == "www\u2060\\.evil\\.org a\\@\u2060b\\.org"
    assert "<" not in safe.plain("<b>").replace(r"\<", "")
    assert safe.plain("a\n# b") == r"a \# b"
    assert safe.visible("user\u202egpj.exe") == r"user\u202egpj.exe"
    assert len(safe.plain("x" * 1000)) == 300


def test_an_indented_text_may_stand_on_a_page_several_times() -> None:
    def script() -> None:
        from dashboards.ui import safe

        for _ in range(3):
            safe.text("    if a < b:\n        return a")

    page = AppTest.from_function(script, default_timeout=30).run()
    assert not page.exception
    assert len(page.get("bidi_component")) == 3


def test_numbers_say_how_sure_they_are() -> None:
    assert numbers.interval({"value": 0.41234, "low": 0.38, "high": 0.444}) == "0.412 [0.380, 0.444]"
    assert numbers.interval({"value": 0.05, "low": -0.01, "high": 0.11}, signed=True) == "+0.050 [-0.010, +0.110]"
    assert numbers.interval(None) == "–"
    assert [numbers.number(value) for value in (12345, 0.00001, float("nan"), 1.23456)] == ["12,345", "1e-05", "–", "1.235"]
    assert [numbers.duration(value) for value in (0.44, 12.0, 185.0, 7620.0)] == ["0.4 s", "12 s", "3 min 05 s", "2 h 07 min"]
    assert numbers.size(1_234_000) == "1.2 MB"


def test_time_passed_is_told_in_its_unit() -> None:
    now = datetime(2026, 1, 10, tzinfo=UTC)
    passed = [timedelta(seconds=5), timedelta(minutes=5), timedelta(hours=3), timedelta(days=2), timedelta(days=9)]
    assert [numbers.ago(now - each, now) for each in passed] == ["just now", "5 min ago", "3 h ago", "2 d ago", "2026-01-01"]


def test_a_long_line_keeps_its_extremes_and_names_are_shown_as_they_are() -> None:
    def script() -> None:
        from dashboards.ui import figures

        values = [0.0] * 5000
        values[1234], values[4321] = 7.25, -3.5
        line = figures.Line("a\u202eb", range(5000), values, raw=[2 * value for value in values])
        figures.lines([line], ["other", line.name], ("step", "loss"), height=200, key="figure", alt="loss")

    [figure] = AppTest.from_function(script, default_timeout=30).run().get("bidi_component")
    shown = json.loads(figure.proto.json)
    [line] = shown["lines"]
    assert len(line["x"]) == len(line["y"]) <= 600
    assert {(0, 0.0), (1234, 7.25), (4321, -3.5), (4999, 0.0)} <= set(zip(line["x"], line["y"], strict=True))
    assert {(1234, 14.5), (4321, -7.0)} <= set(zip(line["raw"]["x"], line["raw"]["y"], strict=True))
    assert (shown["names"], line["name"]) == (["other", "a\\u202eb"], "a\\u202eb")
    assert line["colour"] == shown["colours"][1] != shown["colours"][0]
