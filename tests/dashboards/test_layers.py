"""The weights page with a search of bits and ranks behind the version, with one whose output is gone, and with none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components.gate import Evidence, Gate
from components.registry import Registry
from components.settings import Settings
from components.store import Store
from tests.dashboards.conftest import words_of

KEY = "5" * 64


def interval(value: float, spread: float) -> dict[str, Any]:
    return {"value": value, "low": value - spread, "high": value + spread, "n": 64}


def searched(difference: float, spread: float) -> dict[str, Any]:
    """A search of two layers, as the stage writes it."""
    trials = [
        {
            "number": i,
            "step": step,
            "bits": [4, 2 + i],
            "ranks": [0, 4 * i],
            "loss": 1 - 0.1 * i,
            "bytes": 9000 + 500 * i,
            "front": i != 1,
        }
        for i, step in enumerate(("sensitivity", "genetic", "bayesian"))
    ]
    confirmed = {"seeds": 3, "steps": 30, "chosen": interval(0.8, 0.1), "reference": interval(0.8 - difference, 0.1)}
    return {
        "schema": 1,
        "bits": [2, 3, 4],
        "ranks": [0, 4, 8],
        "sensitivity": [{"layer": i, "bits": bits, **interval(0.2 * i, 0.1)} for i in (0, 1) for bits in (2, 3, 4)],
        "trials": trials,
        "reference": {"format": "nf4", "rank": 8, "loss": 0.9, "bytes": 10_500},
        "budget": 10_500,
        "chosen": {name: trials[2][name] for name in ("number", "bits", "ranks", "loss", "bytes")},
        "confirmed": confirmed | {"difference": interval(difference, spread)},
        "why": "x",
    }


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a version whose recipe has a search; its output is put there by each test."""
    home = tmp_path_factory.mktemp("searched") / "home"
    registry, weights = Registry(Settings(home=home)), home / "weights"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"w")
    recipe = {
        "search": {"method": "qr_adaptor"},
        "sft": {"adapter": {"target_modules": "all-linear", "r": 8}},
        "register": {"name": "tiny"},
    }
    evidence = Evidence("d", recipe=recipe, parity={"ok": True}, stages=[{"name": "search", "method": "qr_adaptor", "key": KEY}])
    registry.register(registry.upload("tiny", {"merged": weights}, "d"), evidence, Gate("pass", [], "d", None))
    return home


@pytest.fixture
def weights(tracked: Path, tmp_path: Path, open_page: Callable[..., AppTest]) -> Callable[..., AppTest]:
    """The page, in a home of its own, with what a search found there or nothing."""

    def show(found: dict[str, Any] | None, **query: str) -> AppTest:
        home = Path(shutil.copytree(tracked, tmp_path / "copy"))
        if found is not None:
            out = home / "work" / "out"
            out.mkdir(parents=True)
            (out / "front.json").write_text(json.dumps(found))
            Store(Settings(home=home).stages).seal("search", "qr_adaptor", KEY, out, {})
        page = open_page("weights", home, **query)
        assert not page.exception
        return page

    return show


@pytest.mark.parametrize(
    ("difference", "spread", "said"),
    [
        (-0.2, 0.1, "The chosen configuration is better"),
        (0.2, 0.1, "configuration is worse"),
        (-0.05, 0.1, "No difference is shown"),
    ],
)
def test_a_verdict_is_what_the_interval_says(weights: Callable[..., AppTest], difference: float, spread: float, said: str) -> None:
    page = weights(searched(difference, spread))
    words = words_of(page)
    assert said in words
    assert "Layers chosen for training:** 1 · all\\-linear · r=8" in words
    figures = {metric.label: metric.value for metric in page.metric}
    assert figures["Difference to uniform NF4"] == f"{difference:+.4f}"
    assert f"({difference - spread:+.4f} to {difference + spread:+.4f} nats a token)" in words
    assert figures["Layers and adapter: chosen / uniform"] == "10.0 kB / 10.5 kB"
    rows = page.dataframe[0].value
    assert list(rows["chosen"]) == [False, False, True]
    assert list(rows["on the front"]) == [True, False, True]
    assert list(rows["bits"]) == ["4 2", "4 3", "4 4"]


def test_words_are_there_in_portuguese(weights: Callable[..., AppTest]) -> None:
    assert "Nenhuma diferença é mostrada" in words_of(weights(searched(0.0, 0.1), lang="pt_BR"))


def test_an_output_that_is_gone_or_damaged_is_told(weights: Callable[..., AppTest], tmp_path: Path) -> None:
    assert "isn't in this home" in words_of(weights(None))
    shutil.rmtree(tmp_path / "copy")
    assert "run the search again" in words_of(weights({"schema": 99}))
