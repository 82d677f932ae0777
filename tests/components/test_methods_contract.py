"""What every method of every section has, whoever adds it."""

from __future__ import annotations

import doctest
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from components import methods
from components.errors import InputError

CALLABLES = {
    "data": "build",
    "adapter": "apply",
    "reward": "score",
    "benchmark": "task",
    "contamination": "detector",
    "membership": "test",
    "inspect": "view",
    "kv": "compress",
}
"""What a section calls; all other sections' methods are stages and have ``run``."""

REQUIRED = {
    "files": {"files": {"sft": {"path": "rows.jsonl"}}},
    "own": {"path": "questions.jsonl"},
    "mt_bench": {"judge": "http://127.0.0.1:9/v1#none"},
    "hub": {"id": "org/name", "revision": "0" * 40, "tables": {"sft": {"split": "train"}}},
}
"""Settings without a default."""

METHODS = [(section, name) for section in methods.SECTIONS for name in methods.names(section)]
every_method = pytest.mark.parametrize(("section", "name"), METHODS, ids=[f"{s}-{n}" for s, n in METHODS])
ROOT = Path(methods.__file__).parent.parent

OBSERVE = """
import json, sys
from components import methods
found = [(s, n) for s in methods.SECTIONS for n in methods.names(s)]
for section, name in found:
    methods.load(section, name)
heavy = sorted({"torch", "transformers", "trl", "peft", "datasets", "mlflow", "lm_eval", "bitsandbytes"} & sys.modules.keys())

def digests():
    methods._closure.cache_clear(), methods.code_digest.cache_clear()
    return {f"{s}/{n}": methods.code_digest(f"{methods.SECTIONS[s]}.{n}") for s, n in found}

before, unchanged = digests(), digests()
for section, name in found:
    with open(methods.load(section, name).__file__, "a") as file:
        file.write("\\nCHANGED = True\\n")
after = digests()
print(json.dumps({"heavy": heavy, "stable": before == unchanged, "changed": [k for k in before if before[k] != after[k]]}))
"""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All methods imported in a process of their own, then all their files changed: in a copy of the code."""
    copy = tmp_path_factory.mktemp("code")
    shutil.copytree(ROOT / "components", copy / "components", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", OBSERVE],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@every_method
def test_config_names_its_method_and_survives_json(section: str, name: str) -> None:
    module = methods.load(section, name)
    field = module.Config.model_fields["method"]
    assert get_args(field.annotation) == (name,)
    assert field.default == name
    config = module.Config.model_validate(REQUIRED.get(name, {}))
    dumped = config.model_dump(mode="json")
    assert module.Config.model_validate(json.loads(json.dumps(dumped))) == config
    assert module.Config.model_config["frozen"]
    assert module.Config.model_config["extra"] == "forbid"


@every_method
def test_config_refuses_an_unknown_key(section: str, name: str) -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        methods.load(section, name).Config.model_validate({**REQUIRED.get(name, {}), "no_such_setting": 1})


@every_method
def test_module_says_what_it_does_and_has_its_function(section: str, name: str) -> None:
    module = methods.load(section, name)
    function = getattr(module, CALLABLES.get(section, "run"))
    for thing in (module, module.Config, function):
        assert thing.__doc__
        assert thing.__doc__.strip()
    assert module.Config.__doc__ != module.Config.__mro__[1].__doc__
    assert function.__module__ == module.__name__


@every_method
def test_examples_in_docstrings_are_true(section: str, name: str) -> None:
    result = doctest.testmod(methods.load(section, name))
    assert result.failed == 0
    assert result.attempted or section != "reward", "a reward shows in its docstring what it gives"


@every_method
def test_key_follows_the_file(observed: dict[str, Any], section: str, name: str) -> None:
    assert observed["stable"]
    assert f"{section}/{name}" in observed["changed"]


def test_importing_all_methods_is_cheap(observed: dict[str, Any]) -> None:
    assert observed["heavy"] == []


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(InputError, match="quantize has no method 'nf5'; did you mean 'nf4'"):
        methods.load("quantize", "nf5")
    with pytest.raises(InputError, match="there are fp8, gptq, w8a8"):
        methods.load("export", "zzz")


def test_a_new_file_is_a_method(tmp_path: Path) -> None:
    """One file makes a reward known to the registry and to recipes: nothing else lists it."""
    shutil.copytree(ROOT / "components", tmp_path / "components", ignore=shutil.ignore_patterns("__pycache__"))
    length = tmp_path / "components" / "rewards" / "length.py"
    length.with_name("brevity.py").write_text(length.read_text().replace('"length"', '"brevity"'))
    code = """
from components.recipe import Recipe
align = [{"method": "grpo", "rewards": [{"method": "brevity"}]}]
recipe = Recipe.model_validate({"name": "x", "data": {"method": "wordproblems"}, "align": align})
print(recipe.align[0].rewards[0].method)
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["brevity"]
