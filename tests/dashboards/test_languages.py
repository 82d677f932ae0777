"""Numbers and states of runs in the reader's language: one place for each, and files that machines can read."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import dashboards
from components import gate
from dashboards.ui import export, numbers
from dashboards.views import flows

from .conftest import Opener, Recorded, words_of

ROOT = Path(dashboards.__file__).parent


@pytest.fixture
def portuguese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.ui.text.language", lambda: "pt_BR")
    monkeypatch.setattr(numbers, "language", lambda: "pt_BR")


@pytest.mark.usefixtures("portuguese")
def test_numbers_have_a_comma_before_decimals() -> None:
    assert numbers.interval({"value": 0.412, "low": 0.38, "high": 1234.5}) == "0,412 [0,380; 1234,500]"
    assert numbers.interval({"value": 0.412}, signed=True) == "+0,412"
    assert numbers.number(1234567) == "1.234.567"
    assert numbers.number(0.1234567) == "0,1235"
    assert numbers.number(1.5e-9) == "1,5e-09"
    assert [numbers.share(part) for part in (0.015, 0.0001)] == ["1,5 %", "<0,1 %"]
    assert (numbers.duration(0.42), numbers.size(1234)) == ("0,4 s", "1,2 kB")


def test_english_is_as_it_was() -> None:
    assert numbers.interval({"value": 0.412, "low": 0.38, "high": 0.444}) == "0.412 [0.380, 0.444]"
    assert (numbers.number(1234567), numbers.duration(0.42), numbers.size(1234)) == ("1,234,567", "0.4 s", "1.2 kB")


def test_nobody_else_formats_decimals_or_thousands() -> None:
    """A format like ``.3f`` or ``,`` outside of ``numbers`` would show English signs in every language."""
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in ROOT.rglob("*.py")
        if file.name != "numbers.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None
        for spec in ["".join(str(part.value) for part in node.format_spec.values if isinstance(part, ast.Constant))]
        if "," in spec or (any(digit in spec for digit in (".1", ".2", ".3", ".4")) and spec[-1] in "fge%")
    ]
    assert found == []


@pytest.mark.usefixtures("portuguese")
def test_states_of_prefect_are_in_the_catalogue_and_unknown_ones_stay() -> None:
    states = ("Running", "AwaitingRetry", "NOT_READY", "TimedOut", None, "Something New")
    assert [flows._named(state) for state in states] == [
        "Em execução", "Aguarda nova tentativa", "não está pronto", "Tempo esgotado", "–", "Something New",
    ]  # fmt: skip
    assert flows.badge({"state": {"type": "COMPLETED", "name": "Completed"}}) == ":green-badge[Concluída]"


def test_a_page_and_its_charts_have_the_signs_of_the_language(recorded: Recorded, open_page: Opener) -> None:
    for language, score, locale in (("en", "0.400", None), ("pt_BR", "0,400", {"decimal": ",", "thousands": "."})):
        page = open_page("run", recorded.home, id=recorded.first, lang=language)
        assert score in words_of(page)
        timeline = json.loads(page.get("vega_lite_chart")[0].proto.spec)
        assert ("ran" in json.dumps(timeline).split('"')) == (language == "en")
        compared = open_page("compare", recorded.home, runs=f"{recorded.first},{recorded.second}", lang=language)
        specs = [json.loads(chart.proto.spec) for chart in compared.get("vega_lite_chart")]
        assert specs
        for spec in specs:
            number = spec.get("config", {}).get("locale", {}).get("number")
            assert (number and {name: number[name] for name in ("decimal", "thousands")}) == locale
        figures = [json.loads(figure.proto.json) for figure in compared.get("bidi_component")]
        assert {(figure["decimal"], figure["thousands"]) for figure in figures} == {(".", ",") if locale is None else (",", ".")}


def test_every_check_of_the_gate_has_a_name_and_says_what_it_asks(portuguese: None) -> None:
    """Reviewers aren't engineers: they read why a version may be promoted."""
    names = {
        str(node.value.value)
        for file in Path(gate.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_NAME" and isinstance(node.value, ast.Constant)
    }
    assert len(names) >= 10
    for name in names:
        assert numbers.check(name)
        assert numbers.check(name, "asks").endswith("?")
    assert numbers.check("usable answers") == "Respostas utilizáveis"
    assert numbers.check("of another day") == ""


@pytest.mark.usefixtures("portuguese")
def test_files_keep_points() -> None:
    assert export.to_csv([{"value": 0.5, "n": 1234}]) == "value,n\n0.5,1234\n"
