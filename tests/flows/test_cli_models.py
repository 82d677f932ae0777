"""``lapidar models`` over a real registry: what is listed, shown, promoted and refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.gate import Evidence, Gate, Reason
from components.registry import Registry
from components.settings import Settings

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions: the first is champion, the second did not pass its gate."""
    home = tmp_path_factory.mktemp("registered") / "home"
    registry = Registry(Settings(home=home))
    _register(registry, home.parent, "d1", "pass", None)
    registry.promote("tiny", "1", _gate("d1", "pass", None))
    _register(registry, home.parent, "d2", "fail", "d1")
    return home


def _gate(digest: str, verdict: Any, champion: str | None) -> Gate:
    return Gate(verdict, [Reason("champion", verdict, f"the reason of {digest}")], digest, champion)


def _register(registry: Registry, folder: Path, digest: str, verdict: str, champion: str | None) -> None:
    merged = folder / digest
    merged.mkdir()
    (merged / "model.safetensors").write_bytes(digest.encode())
    scores = {"wordproblems": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}}}
    evidence = Evidence(
        digest=digest,
        dataset={"md5": "abc.dir", "repository": "/repo", "revision": "f00d", "path": "data"},
        recipe={"name": "tiny", "register": {"name": "tiny", "metric": "accuracy"}, "model": {"source": "pretrain"}},
        stages=[{"name": "sft", "method": "sft", "key": "k" * 64}],
        evaluation=scores,
        parity={"ok": True, "reload": {"identical_tokens": True, "max_logit_difference": 0.0}, "merged": {"kl": 1e-6, "top1": 1.0}},
    )
    handle = registry.upload("tiny", {"merged": merged}, digest)
    registry.register(handle, evidence, _gate(digest, verdict, champion))


@pytest.fixture
def home(registered: Path, tmp_path: Path) -> Path:
    """A copy whose artifacts stay where they are: their place stands in the database."""
    return Path(shutil.copytree(registered, tmp_path / "home"))


def test_nothing_registered_is_said_and_nothing_is_made(lapidar: Cli, tmp_path: Path) -> None:
    assert lapidar("models", "list") == (0, "no versions yet; `lapidar run quickstart` makes one\n", "")
    code, _, error = lapidar("models", "show", "models:/tiny/1")
    assert code == 2
    assert "nothing is registered in this home yet" in error
    assert not (tmp_path / "home").exists()


def test_list_has_digest_aliases_metric_and_gate(lapidar: Cli, home: Path) -> None:
    code, out, _ = lapidar("models", "list")
    assert code == 0
    second, first = out.splitlines()
    for part in ("models:/tiny/2", "d2", "candidate", "wordproblems accuracy 0.500 [0.400, 0.600]", "gate fail"):
        assert part in second
    assert "champion" in first
    assert "gate pass" in first


def test_show_has_all_that_a_version_carries(lapidar: Cli, home: Path) -> None:
    code, out, _ = lapidar("models", "show", "models:/tiny@champion")
    assert code == 0
    for part in ("models:/tiny/1 (champion)", "the reason of d1", "identical_tokens True", "kl 1e-06", "abc.dir", "k" * 64):
        assert part in out


def test_promote_obeys_the_gate(lapidar: Cli, home: Path) -> None:
    code, _, error = lapidar("models", "promote", "models:/tiny/2")
    assert code == 3
    assert "its gate is fail (champion fail: the reason of d2)" in error
    assert "models:/tiny/1 (champion)" in lapidar("models", "show", "models:/tiny@champion")[1]


def test_an_override_is_named_and_stays(lapidar: Cli, home: Path) -> None:
    code, out, _ = lapidar("models", "promote", "models:/tiny/2", "--override", "--who", "Ada", "--reason", "for the demo")
    assert code == 0
    assert "by an override of Ada past a gate that says fail: for the demo" in out
    assert "override by Ada" in lapidar("models", "show", "models:/tiny/2")[1]
    assert "override by Ada" in lapidar("models", "list")[1]
    assert lapidar("models", "promote", "models:/tiny/1")[0] == 3  # its gate knew no champion; now there is another one
    assert "override by Ada" in lapidar("models", "show", "models:/tiny/2")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "models:/tinny/1"], "no registered model is named 'tinny'; did you mean 'tiny'?"),
        (["list", "tinny"], "did you mean 'tiny'?"),
        (["promote", "models:/other/1"], "registered are tiny"),
        (["show", "models:/tiny/7"], "there is no models:/tiny/7; tiny has versions 2 @candidate, 1 @champion"),
        (["show", "tiny"], "write models:/NAME/VERSION or models:/NAME@ALIAS"),
        (["show", "models:/tiny"], "isn't of the form models:/name/version"),
        (["promote", "models:/tiny/2", "--override", "--who", "Ada"], "add --who NAME and --reason TEXT"),
        (["promote", "models:/tiny/2", "--reason", "so"], "add --override"),
    ],
)
def test_wrong_input(lapidar: Cli, home: Path, arguments: list[str], said: str) -> None:
    code, out, error = lapidar("models", *arguments)
    assert code == 2
    assert said in error
    assert not out


def test_a_registered_version_is_a_base_model(home: Path) -> None:
    from components.models import resolve
    from components.models.resolve import NotFetched
    from components.recipe import ModelConfig
    from components.registry import fetch

    settings = Settings(home=home)
    with pytest.raises(NotFetched, match="a run fetches it from the registry"):
        resolve.resolve(ModelConfig(source="models:/tiny@champion"), settings, fetch=False)
    folder = fetch("models:/tiny@champion", settings)
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == b"d1"
