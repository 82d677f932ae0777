"""Recipes: what is wrong with one is said with the line, the key and the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components import recipe as recipes
from components.errors import InputError
from components.recipe import Recipe

TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"


@pytest.fixture
def wrong(tmp_path: Path) -> Any:
    """Message about a recipe made from the tiny one by replacing a text, with overrides; ``PATH`` stands for the file."""

    def message(old: str = "", new: str = "", *overrides: str) -> str:
        text = TINY.read_text()
        assert old in text
        file = tmp_path / "recipe.yaml"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            recipes.load(str(file), list(overrides))
        return str(caught.value).replace(str(file), "PATH")

    return message


def line_of(text: str, file: Path = TINY) -> int:
    return next(i for i, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_tiny_resolves_and_its_dump_is_itself() -> None:
    recipe = recipes.load(str(TINY))
    assert Recipe.model_validate(recipe.dump()) == recipe
    assert recipe.dump()["register"]["name"] == "tiny"
    assert [config.method for config in recipe.align] == ["dpo", "grpo"]
    assert recipe.dump()["align"][1]["rewards"] == [{"method": "length", "weight": 1.0, "least": 3, "most": 5, "slack": 12}]


def test_a_built_in_recipe_is_found_by_name() -> None:
    assert recipes.load("quickstart").name == "quickstart"
    with pytest.raises(InputError, match=r"no recipe 'quikstart'.*did you mean 'quickstart'"):
        recipes.load("quikstart")


@pytest.mark.parametrize(
    ("old", "new", "key", "nearest"),
    [
        ("quantize: {", "quantise: {", "quantise", "quantize"),
        ("  sft: 40", "  stf: 40", "data.stf", "sft"),
        ("    hidden_size: 64", "    hiden_size: 64", "model.pretrain.hiden_size", "hidden_size"),
        ("    num_generations: 4", "    num_generation: 4", "align.1.num_generation", "num_generations"),
        ("least: 3", "leest: 3", "align.1.rewards.0.leest", "least"),
        ("alpha: 8", "alhpa: 8", "sft.adapter.alhpa", "alpha"),
        ("  max_unusable: 1.0", "  max_unuseable: 1.0", "register.max_unuseable", "max_unusable"),
        ("max_new_tokens: 8", "max_tokens: 8", "evaluate.benchmarks.0.max_tokens", "max_new_tokens"),
    ],
)
def test_a_misspelt_key_names_line_and_nearest(wrong: Any, old: str, new: str, key: str, nearest: str) -> None:
    assert wrong(old, new) == f"PATH:{line_of(old)}: unknown key {key!r}; did you mean {nearest!r}?"


@pytest.mark.parametrize(
    ("data", "override", "message"),
    [
        ("files: {sft: {path: x, colums: {}}}", "", "PATH:2: unknown key 'data.files.sft.colums'; did you mean 'columns'?"),
        ("files: {sfft: {path: x}}", "", "PATH:2: unknown key 'data.files.sfft'; did you mean 'sft'?"),
        ("files: {sft: {path: x}}, heldout_share: 2", "", "PATH:2: data.heldout_share=2: input should be less than 1"),
        ("files: {}", "", "PATH:2: data.files={}: dictionary should have at least 1 item after validation, not 0"),
        ("files: {sft: {path: x}}", "data.heldout=0", "override: unknown key 'data.heldout'; did you mean 'heldout_share'?"),
        ("files: &a {sft: *a}", "", "PATH:2: an alias stands inside the anchor that it names; write it out"),
    ],
)
def test_keys_below_a_key_named_like_its_method(tmp_path: Path, data: str, override: str, message: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"name: a\ndata: {{method: files, {data}}}\n")
    with pytest.raises(InputError) as caught:
        recipes.load(str(file), [override] if override else [])
    assert str(caught.value).replace(str(file), "PATH") == message


def test_a_key_like_none_lists_what_there_is(wrong: Any) -> None:
    assert wrong("name: tiny\nseed", "zzz: 1\nname: tiny\nseed") == (
        "PATH:2: unknown key 'zzz'; known keys are name, seed, data, model, search, quantize, sft, align, export, evaluate, "
        "contamination, register"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("method: nf4", "method: nf5", "quantize has no method 'nf5'; did you mean 'nf4'?"),
        ("- method: dpo", "- method: dppo", "align.0 has no method 'dppo'; did you mean 'dpo'?"),
        ("{method: length,", "{method: lenght,", "align.1.rewards.0 has no method 'lenght'; did you mean 'length'?"),
        ("{method: lora,", "{method: loraa,", "sft.adapter has no method 'loraa'; did you mean 'lora'?"),
    ],
)
def test_an_unknown_method_names_the_nearest(wrong: Any, old: str, new: str, message: str) -> None:
    assert wrong(old, new) == f"PATH:{line_of(old)}: {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr: 5.0e-3", "lr: fast", "sft.lr='fast': input should be a valid number, unable to parse string as a number"),
        ("lr: 5.0e-3", "lr: -1", "sft.lr=-1: input should be greater than 0"),
        ("lr: 5.0e-3", "lr: .nan", "sft.lr=nan: input should be a finite number"),
        (
            "layers: 2",
            "layers: 2.5",
            "model.pretrain.layers=2.5: input should be a valid integer, got a number with a fractional part",
        ),
        ("group_size: 32", "group_size: 33", "export.group_size=33: input should be 0, 32, 64 or 128"),
        ("seed: 0", "seed: -1", "seed=-1: input should be greater than or equal to 0"),
    ],
)
def test_wrong_types_and_ranges_name_value_and_place(wrong: Any, old: str, new: str, message: str) -> None:
    assert wrong(old, new) == f"PATH:{line_of(old)}: {message}"


def test_a_section_that_only_an_override_has_is_its_fault(wrong: Any) -> None:
    assert wrong("", "", "foo.bar=3").startswith("override: unknown key 'foo'; known keys are name, seed,")
    assert wrong("", "", "align.0.rewards.0.method=length").startswith("override: unknown key 'align.0.rewards'; known keys are")
    assert wrong("quantize: {", "quantise: {", "quantise.method=nf4").startswith(f"PATH:{line_of('quantize: {')}: unknown key")


def test_yes_is_no_number(wrong: Any) -> None:
    said = "input should be a number; YAML reads yes, no, on and off as true and false"
    assert wrong("lr: 5.0e-3", "lr: on") == f"PATH:{line_of('lr: 5.0e-3')}: sft.lr=True: {said}"
    assert wrong("least: 3", "least: yes") == f"PATH:{line_of('least: 3')}: align.1.rewards.0.least=True: {said}"


def test_settings_that_do_not_fit_each_other(wrong: Any) -> None:
    assert "num_generations=3 doesn't divide the 8 completions" in wrong("num_generations: 4", "num_generations: 3")
    assert "heads must divide hidden_size" in wrong("heads: 2", "heads: 3")
    assert "benchmark 'wordproblems' stands twice" in wrong(
        "    - {method: wordproblems, max_new_tokens: 8}", "    - {method: wordproblems}\n    - {method: wordproblems}"
    )


def test_all_errors_are_told_at_once(wrong: Any) -> None:
    assert len(wrong("seed: 0", "sead: 0", "sft.lr=-1").splitlines()) == 2


def test_a_missing_section(wrong: Any) -> None:
    assert wrong("name: tiny\nseed", "seed").endswith("name is missing")
    assert wrong("  method: wordproblems\n", "").endswith("data names no method; add 'method:'")


def test_two_equal_keys_are_refused(wrong: Any) -> None:
    first = line_of("  lr: 5.0e-3")
    assert (
        wrong("  lr: 5.0e-3\n", "  lr: 5.0e-3\n  lr: 1.0e-3\n")
        == f"PATH:{first + 1}: key 'lr' stands twice (first in line {first})"
    )


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    for content, message in [
        (b"name: [", "isn't valid YAML"),
        (b"\xff\xfe", "isn't UTF-8"),
        (b"- 1\n", "holds no recipe"),
        (b"", "holds no recipe"),
    ]:
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            recipes.load(str(file))


def test_overrides_by_dotted_name_and_index() -> None:
    overrides = [
        "align.0.beta=0.3",
        "sft.lr=1e-3",
        "align.1.rewards.0.most=9",
        "model.pretrain.layers=3",
        "quantize=null",
        "seed=7",
    ]
    recipe = recipes.load(str(TINY), overrides)
    dumped = recipe.dump()
    assert dumped["align"][0]["beta"] == 0.3
    assert dumped["sft"]["lr"] == 1e-3
    assert dumped["align"][1]["rewards"][0]["most"] == 9
    assert dumped["model"]["pretrain"]["layers"] == 3
    assert recipe.quantize is None
    assert recipe.seed == 7
    assert dumped["align"][0]["lr"] == 1e-3  # the others stay


def test_an_override_can_add_a_section() -> None:
    assert recipes.load(str(TINY), ["export=null", "export.method=fp8"]).export.method == "fp8"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("align.0.betta=1", "override: unknown key 'align.0.betta'; did you mean 'beta'?"),
        ("sft.lr=-1", "override: sft.lr=-1: input should be greater than 0"),
        ("align.5.beta=1", "override 'align.5.beta=1': align is a list of 2; use an index below that"),
        ("align.beta=1", "override 'align.beta=1': align is a list of 2; use an index below that"),
        ("seed.x=1", "override 'seed.x=1': seed is 0 and holds no 'x'"),
        ("seed", "override 'seed' isn't of the form section.key=value"),
        ("=1", "override '=1' isn't of the form section.key=value"),
        ("seed=[", "override 'seed=[': '[' isn't a YAML value"),
        ("quantize=int8", "override: quantize='int8': expected settings by name, as in quantize.method=…"),
        ("register=tiny", "override: register='tiny': expected settings by name, as in register.name=…"),
        ("register.judge=5", "override: register.judge=5: expected settings by name, as in register.judge.min_kappa=…"),
        ("align=dpo", "override: align='dpo': input should be a valid list"),
        (
            "sft.adapter.layers.0=1",
            "override: sft.adapter.layers isn't a list in PATH, so that it has no items to change; "
            "give the whole list: 'sft.adapter.layers=[…, …]'",
        ),
        ("sft.lr=yes", "override: sft.lr=True: input should be a number; YAML reads yes, no, on and off as true and false"),
    ],
)
def test_wrong_overrides(override: str, message: str, wrong: Any) -> None:
    assert wrong("", "", override) == message
