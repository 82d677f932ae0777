"""Stage keys: what decides a stage's output changes its key, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import graph, recipe
from components.artifacts import DatasetRef, ModelRef, RecordKind, Sealed, Split, SplitName
from components.errors import InputError
from components.settings import Settings
from components.store import Store

TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"
ROOT = Path(graph.__file__).parent.parent
NODES = [
    "base",
    "evaluate.base",
    "quantize",
    "sft",
    "evaluate.sft",
    "dpo",
    "evaluate.dpo",
    "grpo",
    "evaluate.grpo",
    "merge",
    "export",
]
NODES += ["evaluate.export"]
KINDS: dict[SplitName, RecordKind] = {
    "corpus": "text",
    "sft": "sft",
    "preference": "preference",
    "prompts": "prompts",
    "heldout": "prompts",
}
DATA = DatasetRef(Path("data"), "md5.dir", {n: Split(n, k, 1, f"sha of {n}") for n, k in KINDS.items()}, Path(), None)


def keys(*overrides: str, data: DatasetRef = DATA, settings: Settings | None = None) -> dict[str, str]:
    """Keys of all stages, each output's digest being its own key: what follows from a change shows."""
    loaded = recipe.load(str(TINY), list(overrides))
    built = graph.build(loaded)
    sealed: dict[str, Sealed] = {}
    outside = {"source": ModelRef(Path("base"), None, "source")}
    for node in built.nodes:
        given = graph.inputs(node, data, sealed, outside)
        key = graph.key(node, given, loaded.seed, settings or Settings(device="cpu"))
        sealed[node.name] = Sealed(node.section, node.method, key, Path(node.name), key)
    return {name: output.key for name, output in sealed.items()}


def changed(*overrides: str, **others: Any) -> list[str]:
    before, after = keys(), keys(*overrides, **others)
    return [name for name in after if before.get(name) != after[name]]


def behind(*names: str) -> list[str]:
    """The named stages and everything behind the last of them."""
    return [name for name in NODES if name in names or NODES.index(name) > NODES.index(names[-1])]


def test_stages_and_their_order() -> None:
    assert list(keys()) == NODES
    built = graph.build(recipe.load(str(TINY)))
    assert built.final == "grpo"
    assert built.models["grpo"] == graph.ModelSource("quantize", "grpo")
    assert built.models["dpo"] == graph.ModelSource("quantize", "dpo")
    assert built.node("dpo").models["model"] == graph.ModelSource("quantize", "sft")
    assert built.node("merge").models["model"] == graph.ModelSource("quantize", "grpo")
    assert built.node("export").models["model"] == graph.ModelSource("merge")
    with pytest.raises(InputError, match="no stage 'grop'"):
        built.node("grop")


def test_equal_recipes_have_equal_keys() -> None:
    assert keys() == keys()
    assert keys() == keys("align.1.beta=0.0", "name=another", "register.max_kl=0.1")


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("align.1.lr=2e-3", behind("grpo")),
        ("align.1.rewards.0.most=6", behind("grpo")),
        ("align.0.beta=0.2", behind("dpo")),
        ("sft.adapter.r=8", behind("sft")),
        ("quantize.double_quant=false", behind("quantize")),
        ("model.pretrain.lr=1e-3", NODES),
        ("model.chat_template=plain", NODES),
        ("export.samples=4", ["export", "evaluate.export"]),
        ("evaluate.benchmarks.0.max_new_tokens=9", [n for n in NODES if n.startswith("evaluate")]),
        ("seed=1", NODES),
    ],
)
def test_a_setting_changes_its_stage_and_what_follows(override: str, stages: list[str]) -> None:
    assert changed(override) == stages


@pytest.mark.parametrize(
    ("split", "stages"),
    [
        ("corpus", NODES),
        ("sft", behind("quantize", "sft")),  # quantization is measured on it
        ("preference", behind("dpo")),
        ("prompts", behind("grpo")),
    ],
)
def test_a_split_changes_the_stages_that_read_it(split: str, stages: list[str]) -> None:
    other = replace(DATA, splits={**DATA.splits, split: replace(DATA.splits[split], sha256="other")})
    assert changed(data=other) == stages


def test_another_text_of_a_template_file_changes_all_stages(tmp_path: Path) -> None:
    file, found = tmp_path / "chat.jinja", []
    for text in ("{{ messages[0]['content'] }}", "{{ messages[-1]['content'] }}"):
        file.write_text(text)
        found.append(keys(f"model.chat_template={file}"))
    assert all(found[0][name] != found[1][name] for name in NODES)
    assert recipe.load(str(TINY), [f"model.chat_template={file}"]).model.chat_template == text


def test_held_out_rows_train_nothing() -> None:
    other = replace(DATA, splits={**DATA.splits, "heldout": replace(DATA.splits["heldout"], sha256="other")})
    before, after = keys("quantize=null"), keys("quantize=null", data=other)
    assert {n for n in after if before[n] != after[n]} == {"export", *(n for n in NODES if n.startswith("evaluate"))}


def test_where_the_data_lies_decides_nothing() -> None:
    assert changed(data=replace(DATA, path=Path("/elsewhere"), md5="other.dir", revision="abc")) == []


def test_the_device_decides() -> None:
    assert changed(settings=Settings(device="cuda")) == NODES


def test_leaving_out_quantization_merges_onto_the_base() -> None:
    built = graph.build(recipe.load(str(TINY), ["quantize=null"]))
    assert built.models["grpo"] == graph.ModelSource("base", "grpo")


def test_where_nothing_is_trained_the_quantized_model_is_what_counts() -> None:
    built = graph.build(recipe.load(str(TINY), ["sft=null", "align=[]"]))
    assert [node.name for node in built.nodes if node.section != "export"] == [
        "base", "evaluate.base", "quantize", "evaluate.quantize", "merge", "evaluate.export",
    ]  # fmt: skip
    assert built.final == "quantize"


def test_full_fine_tuning_hands_on_whole_models() -> None:
    built = graph.build(recipe.load(str(TINY), ["quantize=null", "sft.adapter={method: full}"]))
    assert built.models["sft"] == graph.ModelSource("sft")
    assert built.models["dpo"] == graph.ModelSource("dpo")
    assert built.node("grpo").models["model"] == graph.ModelSource("dpo")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["align.0.adapter={method: lora}"], r"dpo\.adapter=lora: the model has an adapter already when dpo begins; leave it out"),
        (["align.1.adapter={method: full}"], r"grpo\.adapter=full: the model has an adapter already"),
        (["sft.adapter={method: full}"], "sft would train all weights of a quantized model.* give sft an adapter"),
        (["sft=null"], "dpo would train all weights of a quantized model.* give dpo an adapter"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_before_the_first(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        graph.build(recipe.load(str(TINY), overrides))


def test_without_sft_the_first_alignment_brings_the_adapter() -> None:
    built = graph.build(recipe.load(str(TINY), ["sft=null", "align.0.adapter={method: lora}"]))
    assert built.models["grpo"] == graph.ModelSource("quantize", "grpo")


def test_a_reward_model_stands_beside_the_policy() -> None:
    built = graph.build(recipe.load(str(TINY), ["align.0={method: reward}"]))
    assert built.node("grpo").models["model"] == graph.ModelSource("quantize", "sft")
    assert "evaluate.reward" not in [node.name for node in built.nodes]


def test_the_same_method_twice_gets_a_number() -> None:
    names = [node.name for node in graph.build(recipe.load(str(TINY), ["align.0={method: grpo}"])).nodes]
    assert [name for name in names if name.startswith("grpo")] == ["grpo", "grpo.2"]


EDIT = """
import importlib.util, json, sys
from components import methods
spec = importlib.util.spec_from_file_location("observer", sys.argv[1])
observer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(observer)
found, before = {}, observer.keys()
for path in sys.argv[2:]:
    with open(path) as file:
        old = file.read()
    with open(path, "a") as file:
        file.write("\\nCHANGED = True\\n")
    for cached in (methods._closure, methods.code_digest, methods.versions):
        cached.cache_clear()
    after = observer.keys()
    found[path] = [name for name in before if before[name] != after[name]]
    with open(path, "w") as file:
        file.write(old)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Stages whose key changes when a line is added to a file: seen in a copy of the code, in a process of its own."""
    copy = tmp_path_factory.mktemp("code")
    shutil.copytree(ROOT / "components", copy / "components", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", EDIT, __file__, *EDITED]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(command, cwd=copy, env=environment, check=True, capture_output=True, text=True)
    return lambda path: list(json.loads(done.stdout)[path])


EDITED = {
    "components/align/grpo.py": behind("grpo"),
    "components/rewards/length.py": behind("grpo"),
    "components/adapters/lora.py": behind("sft"),
    "components/export/gptq.py": ["export", "evaluate.export"],
    "components/benchmarks/wordproblems.py": [name for name in NODES if name.startswith("evaluate")],
    "components/inference/engine.py": [name for name in NODES if name.startswith("evaluate")],
    "components/data/sources/wordproblems.py": [],  # a dataset counts by its content
    "components/rewards/required_words.py": [],  # nobody chose it
    "components/quantize/int8.py": [],
    "components/tracking.py": [],
    "components/registry.py": [],
}


@pytest.mark.parametrize("path", EDITED)
def test_code_changes_the_stages_that_run_it(edited: Callable[[str], list[str]], path: str) -> None:
    assert edited(path) == EDITED[path]


def test_lookup_finds_what_is_sealed_and_follows_it_no_further(tmp_path: Path) -> None:
    loaded, settings = recipe.load(str(TINY)), Settings(device="cpu")
    built, store = graph.build(loaded), Store(tmp_path / "store")
    sealed, known = graph.lookup(built, loaded, DATA, {}, store, settings)
    assert sealed == {}
    assert list(known) == ["base"]
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("{}")
    store.seal("model", "pretrain", known["base"], out, {})
    sealed, known = graph.lookup(built, loaded, DATA, {}, store, settings)
    assert list(sealed) == ["base"]
    assert list(known) == ["base", "evaluate.base", "quantize"]


def searching(*overrides: str) -> graph.Graph:
    text = TINY.read_text().replace("quantize: {method: nf4}", "search: {rows: 8}\nquantize: {method: mixed}")
    return graph.build(recipe.parse(text, TINY, list(overrides), recipe.Recipe))


def test_what_a_search_chooses_reaches_quantize_and_sft(tmp_path: Path) -> None:
    built = searching("sft.lr=0.01")
    assert [node.name for node in built.nodes][:5] == ["base", "evaluate.base", "search", "quantize", "sft"]
    assert [node.name for node in built.nodes if node.chooser] == ["quantize", "sft"]
    config: Any = built.node("search").config
    assert (config.lr, config.batch_size, config.adapter.r) == (0.01, 8, 4)
    (tmp_path / "front.json").write_text(json.dumps({"schema": 1, "chosen": {"bits": [4, 8], "ranks": [0, 2]}}))
    given = {}
    for digest in ("one", "two"):
        sealed = {n: Sealed("x", "y", n, tmp_path, digest if n == "search" else n) for n in ("base", "search", "quantize")}
        found = graph.inputs(built.node("quantize"), DATA, sealed, {})
        assert found.choice is not None
        assert (found.choice.bits, found.choice.ranks) == ((4, 8), (0, 2))
        given[digest] = graph.key(built.node("quantize"), found, 0, Settings(device="cpu"))
    assert given["one"] != given["two"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("quantize.bits=[4, 4]", "write quantize: {method: mixed}, without bits"),
        ("quantize=null", "write quantize: {method: mixed}, without bits"),
        ("sft.adapter.ranks=[4, 4]", "without layers and ranks"),
        ("sft=null", "search chooses the rank of each layer"),
    ],
)
def test_a_choice_that_would_not_be_used(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        searching(override)
