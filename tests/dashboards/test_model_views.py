"""The pages of models, data and flows with one version, with a broken one, and with the services down."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from components.gate import Evidence, Gate, Reason
from components.lineage import trace
from components.registry import Registry
from components.settings import Settings
from dashboards.parts.graphs import dot, quoted

PARITY = {"ok": True, "reload": {"ok": True, "identical_tokens": True, "max_logit_difference": 0.0}}
SCORES = {"sums": {"accuracy": {"value": 1.0, "low": 0.2, "high": 1.0, "n": 1}}}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions of a model that takes two people: one passed its gate, one failed."""
    folder = tmp_path_factory.mktemp("tracked")
    registry = Registry(Settings(home=folder / "home"))
    for digest, verdict in (("d1", "pass"), ("d2", "fail")):
        weights = folder / digest
        weights.mkdir()
        (weights / "model.safetensors").write_bytes(digest.encode())
        handle = registry.upload("tiny", {"merged": weights}, digest)
        policy = {"recipe": {"register": {"name": "tiny", "approvals": 2}}}
        items = folder / f"{digest}.jsonl"
        items.write_text('{"benchmark": "sums", "id": "1", "prompt": "p", "response": "<b>", "scores": {"accuracy": 1.0}}\n')
        gate = Gate(verdict, [Reason("champion", verdict, "planted [x](http://evil)")], digest, None)
        evidence = Evidence(digest, **policy, parity=PARITY, evaluation=SCORES, metrics={"sft": SCORES}, licence="mit")
        registry.register(handle, evidence, gate, {"items.jsonl": items})
    return folder / "home"


@pytest.fixture
def home(tracked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tracked, tmp_path / "copy"))


def said(page: AppTest) -> str:
    assert not page.exception
    return "\n".join(
        str(each.value) for kind in ("markdown", "caption", "text", "success", "error", "warning") for each in getattr(page, kind)
    )


@pytest.mark.parametrize(
    ("view", "section"),
    [("registry", name) for name in ("gate", "evidence", "lineage", "versions", "audit")]
    + [("evaluation", name) for name in ("scores", "compare", "answers", "contamination", "judge")],
)
def test_a_version_is_shown_in_every_section(view: str, section: str, home: Path, open_page: Callable[..., AppTest]) -> None:
    page = open_page(view, home, section=section, model="tiny", version="1")
    found = said(page)
    assert "This can't be shown" not in found
    assert [each.value for each in page.selectbox[:2]] == ["tiny", "1"]


def test_a_promotion_needs_a_reason_and_is_kept_for_the_second_person(home: Path, open_page: Callable[..., AppTest]) -> None:
    page = open_page("registry", home, model="tiny", version="1")
    approve = next(each for each in page.button if each.label == "Approve as champion")
    approve.click().run()
    assert "Write a reason" in said(page)
    page.text_area(key="promote-reason").set_value("read all answers")
    next(each for each in page.button if each.label == "Approve as champion").click().run()
    assert "1 of 2" in said(page)
    registry = Registry(Settings(home=home))
    assert registry.champion("tiny") is None
    last = registry.audit("tiny")[-1]
    assert (last["action"], last["reason"]) == ("approve", "read all answers")


def test_a_gate_that_failed_can_only_be_overridden(home: Path, open_page: Callable[..., AppTest]) -> None:
    page = open_page("registry", home, model="tiny", version="2")
    labels = [each.label for each in page.button]
    assert "Override the gate" in labels
    assert "Approve as champion" not in labels


def test_evidence_that_was_damaged_is_told(home: Path, open_page: Callable[..., AppTest]) -> None:
    files = list(home.rglob("evidence.json"))
    assert files
    for file in files:
        found = json.loads(file.read_bytes())
        file.write_text(json.dumps(found | {"gate": {**found["gate"], "verdict": "unknown"}}))
    assert "isn't what was registered" in said(open_page("registry", home, model="tiny", version="2"))


@pytest.mark.parametrize("view", ["weights", "inside"])
def test_a_model_server_that_is_down_is_told(view: str, home: Path, open_page: Callable[..., AppTest]) -> None:
    assert "The model server doesn't run" in said(open_page(view, home))


def test_prefect_that_is_down_is_told(home: Path, open_page: Callable[..., AppTest]) -> None:
    assert "Prefect doesn't run" in said(open_page("flows", home))


def test_labels_of_a_graph_are_no_markup(home: Path) -> None:
    assert quoted('a"b\\n<b>\nc') == '"a\\"b\\\\n<b> c"'
    shown = Registry(Settings(home=home)).show("models:/tiny/1")
    shown["aliases"] = ['x" shape=none URL="http://evil']
    assert re.search(r"(?<!\\)\" shape=none", dot(trace(shown), dark=False)) is None
