"""``lapidar inspect`` over a folder, an adapter on it, and a registered version whose base and adapter it tells apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import ModelRef
from components.gate import Evidence, Gate
from components.inspection import Document, inspect
from components.models.load import load_model, load_tokenizer
from components.models.open import open_model
from components.models.plain import plain_model
from components.registry import Registry
from components.settings import Settings

Cli = Callable[..., tuple[int, str, str]]
STORY = ("--prompt", "Tom has 3 apples.")


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, tiny_sft: ModelRef) -> Path:
    """A home with one version: merged weights, and the adapter that is in them."""
    home = tmp_path_factory.mktemp("inspected") / "home"
    merged = home.parent / "merged"
    plain_model(tiny_sft, "cpu").save_pretrained(str(merged))
    load_tokenizer(tiny_sft.base).save_pretrained(str(merged))
    registry = Registry(Settings(home=home))
    assert tiny_sft.adapter is not None
    handle = registry.upload("tiny", {"merged": merged, "adapter": tiny_sft.adapter}, "d1")
    stages = [{"name": "sft", "method": "sft", "key": "k" * 64}]
    evidence = Evidence(digest="d1", dataset={}, recipe={"name": "tiny"}, stages=stages, evaluation={}, parity={"ok": True})
    registry.register(handle, evidence, Gate("pass", [], "d1", None))
    return home


@pytest.fixture
def lapidar(in_process: Any, registered: Path) -> Cli:
    run: Cli = in_process(registered)
    return run


def test_a_folder_as_text_json_and_arrow(lapidar: Cli, tiny_llama: Path, tmp_path: Path) -> None:
    from pyarrow import feather

    code, out, _ = lapidar("inspect", str(tiny_llama), "tokens", "top=2", *STORY, "--answer", " Yes.", "--out", "seen.arrow")
    assert code == 0
    assert "tokens scored" in out
    document = Document.from_arrow(feather.read_table(tmp_path / "seen.arrow"))
    assert f"seen.arrow: {(tmp_path / 'seen.arrow').stat().st_size} bytes" in out
    code, out, _ = lapidar("inspect", str(tiny_llama), "tokens", "top=2", *STORY, "--answer", " Yes.", "--json")
    found = json.loads(out)
    assert found["columns"]["id"] == document.columns["id"]
    assert found["facts"] == document.facts
    assert len(found["columns"]["top_ids"][1]) == 2


def test_an_adapter_on_its_base(lapidar: Cli, tiny_sft: ModelRef) -> None:
    code, out, _ = lapidar("inspect", str(tiny_sft.base), "adapter", "--adapter", str(tiny_sft.adapter), "--json")
    assert code == 0
    assert json.loads(out)["facts"]["modules"] == 14
    code, _, error = lapidar("inspect", str(tiny_sft.adapter), "adapter")
    assert code == 2
    assert "is an adapter; name its base model in its place" in error
    code, _, error = lapidar("inspect", str(tiny_sft.base), "adapter", "--adapter", str(tiny_sft.base))
    assert code == 2
    assert "is no adapter: it has no adapter_config.json" in error


def test_a_version_has_its_base_and_adapter_told_apart(lapidar: Cli, registered: Path, tiny_sft: ModelRef) -> None:
    code, out, _ = lapidar("inspect", "models:/tiny@candidate", "adapter", "--json")
    assert code == 0
    found = json.loads(out)
    wanted = inspect("adapter", {}, *load_model(tiny_sft)).to_dict()
    for name in ("module", "r", "scaling"):
        assert found["columns"][name] == wanted["columns"][name]
    for name in ("frobenius", "base_frobenius", "base_spectral", "effective_rank", "left_overlap", "right_overlap"):
        assert found["columns"][name] == pytest.approx(wanted["columns"][name], rel=1e-4)
    _same_tokens(open_model("models:/tiny/1", Settings(home=registered), unmerged=True), load_model(tiny_sft))
    _same_tokens(open_model("models:/tiny/1", Settings(home=registered)), load_model(tiny_sft))


def _same_tokens(first: tuple[Any, Any], second: tuple[Any, Any]) -> None:
    from components.inspection import Prompt

    prompt = Prompt.of(second[1], STORY[1])
    surprisals = [inspect("tokens", {}, *loaded, prompt).columns["surprisal"][1:] for loaded in (first, second)]
    assert surprisals[0] == pytest.approx(surprisals[1], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tokns", *STORY), "inspect has no method 'tokns'; did you mean 'tokens'"),
        (("tokens",), "tokens shows what the model makes of a text; add --prompt TEXT"),
        (("tokens", "tops=3", *STORY), "tokens has no setting 'tops'"),
        (("tokens", "top", *STORY), "override 'top' isn't of the form section.key=value"),
        (("rope", "--out", "x.csv"), r"--out x.csv should end in .arrow or .feather or .json"),
        (("experts", *STORY), "LlamaForCausalLM is dense"),
    ],
)
def test_wrong_input_is_one_sentence(lapidar: Cli, tiny_llama: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, error = lapidar("inspect", str(tiny_llama), *arguments)
    assert (code, out) == (2, "")
    assert said in error
    assert len([line for line in error.splitlines() if line.startswith("lapidar:")]) == 1


def test_a_model_that_is_not_there(lapidar: Cli) -> None:
    assert "no registered model is named 'tinny'; did you mean 'tiny'" in lapidar("inspect", "models:/tinny/1", "rope")[2]
    assert "there is no models:/tiny/7; tiny has versions 1 @candidate" in lapidar("inspect", "models:/tiny/7", "rope")[2]
    assert "model folder missing/folder/x doesn't exist" in lapidar("inspect", "missing/folder/x", "rope")[2]


def test_sensitivity_on_rows_of_a_file(lapidar: Callable[..., Any], tiny_llama: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "How many?", "completion": " 4."}, {"prompt": "Tom?", "completion": " The answer is 7."}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = lapidar("inspect", str(tiny_llama), "sensitivity", 'formats=["rtn2"]', "--rows", "rows.jsonl", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["facts"]["texts"] == 2
    assert [(row, form) for row, form in zip(found["columns"]["layer"], found["columns"]["format"], strict=True)] == [
        (0, "rtn2"),
        (1, "rtn2"),
    ]
    code, _, error = lapidar("inspect", str(tiny_llama), "sensitivity", "--rows", "missing.jsonl")
    assert code == 2
    assert "missing.jsonl" in error
