"""``lapidar deploy`` with the real services: what is scheduled is run by the worker, also when data changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components import local_services, recipe
from components.errors import InputError
from components.gate import Evidence, Gate
from components.registry import Registry
from components.reviews import arena
from components.settings import Settings
from flows import deployments, server

FAST = ["register=null", "align=[]", "sft=null", "quantize=null", "export=null", "evaluate=null", "model.pretrain.max_steps=2"]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21600), ("1d", 86400), (" 5s ", 5)])
def test_intervals(text: str, seconds: int) -> None:
    assert deployments.interval(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "1.5h", "-3m", "5 w", "0s", "4s", "366d", "99999999999d"])
def test_intervals_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--every"):
        deployments.interval(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [("0 3 31 2 *", "names a day that never comes"), ("0 3 * *", "isn't a cron expression"), ("", "isn't a cron expression")],
)
def test_crons_that_are_none(text: str, said: str) -> None:
    assert deployments._cron(deployments.When("0 3 29 2 *")) is not None
    with pytest.raises(InputError, match=said):
        deployments._cron(deployments.When(text))


@pytest.fixture(scope="module")
def up(new_home: Callable[[str], Any]) -> Iterator[Any]:
    """A home whose services run."""
    home = new_home("deploy")
    home.command("up")
    yield home
    home.command("down")
    assert home.left_behind() == []


def flow_runs(home: Any, deployment: str, state: str) -> list[dict[str, Any]]:
    prefect = local_services.address(Settings(home=home.path), "prefect")
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"name": {"any_": [state]}}}
    found: list[dict[str, Any]] = server.post(f"{prefect}/api/flow_runs/filter", {"flow_runs": wanted}, 60.0)
    return found


def completed(home: Any, deployment: str, count: int, seconds: float = 240.0) -> int:
    limit = time.monotonic() + seconds
    while (found := len(flow_runs(home, deployment, "Completed"))) < count and time.monotonic() < limit:
        time.sleep(0.5)
    return found


def parameters(home: Any, deployment: str) -> dict[str, Any]:
    prefect = local_services.address(Settings(home=home.path), "prefect")
    wanted = {"deployments": {"id": {"any_": [deployment]}}}
    found: list[dict[str, Any]] = server.post(f"{prefect}/api/deployments/filter", wanted, 60.0)
    assert found[0]["entrypoint"] == "flows.pipeline.pipeline"
    assert "sft" in str(found[0]["parameter_openapi_schema"])
    known: dict[str, Any] = found[0]["parameters"]
    return known


@pytest.mark.slow
def test_an_interval_is_kept_listed_paused_and_removed(up: Any) -> None:
    made = up.command("deploy", up.recipe, *FAST, "--every", "15s", "--json")
    assert (made["name"], made["when"], made["paused"]) == ("tiny", "every 15s", False)
    assert parameters(up, made["id"])["recipe"] == recipe.load(up.recipe, FAST).dump()
    assert completed(up, made["id"], 2) >= 2
    assert list((up.path / "store" / "model").glob("*/manifest.json"))
    listed = up.command("deploy", "--json")
    assert [(each["name"], each["id"]) for each in listed] == [("tiny", made["id"])]
    assert listed[0]["last"]["state"] in ("Completed", "Running")
    assert listed[0]["next"]
    assert up.command("deploy", "tiny", "--pause", "--json") == {"name": "tiny", "paused": True}
    assert up.command("deploy", "--json")[0]["paused"]
    wrong = up.call("deploy", "tini", "--pause")
    assert (wrong.returncode, "did you mean 'tiny'?" in wrong.stderr) == (2, True)
    assert up.command("deploy", up.recipe, "--remove", "--json") == {"name": "tiny", "removed": True}
    assert up.command("deploy", "--json") == []


@pytest.mark.slow
def test_new_data_starts_a_run(up: Any) -> None:
    made = up.command("deploy", up.recipe, *FAST, "--on-new-data", "--json")
    assert made["when"] == "on new data"
    built = up.command("data", "build", up.recipe, "data.sft=31", "--json")
    assert built["changed"]
    assert completed(up, made["id"], 1) == 1
    assert not up.command("data", "build", up.recipe, "data.sft=31", "--json")["changed"]
    time.sleep(8.0)
    assert len(flow_runs(up, made["id"], "Completed")) == 1
    up.command("deploy", up.recipe, "--remove")


@pytest.mark.slow
def test_a_cron_is_kept_and_a_wrong_one_refused(up: Any) -> None:
    wrong = up.call("deploy", up.recipe, "--cron", "61 3 * * *")
    assert wrong.returncode == 2
    assert "--cron '61 3 * * *' isn't a cron expression" in wrong.stderr
    assert up.command("deploy", "--json") == []
    made = up.command("deploy", up.recipe, "--cron", "0 3 * * *", "--json")
    assert made["when"] == "0 3 * * * (UTC)"
    again = up.command("deploy", up.recipe, "--every", "1h", "--json")
    assert [each["when"] for each in up.command("deploy", "--json")] == ["every 1h"] == [again["when"]]


@pytest.mark.slow
def test_reruns_of_a_version_are_scheduled_listed_and_removed(up: Any) -> None:
    settings = Settings(home=up.path)
    weights = up.beside / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"w")
    registry = Registry(settings, local_services.address(settings, "mlflow"))
    handle = registry.upload("planted", {"merged": weights}, "d1")
    registry.register(handle, Evidence("d1", parity={"ok": True}), Gate("pass", [], "d1", None))
    made = up.command("reproduce", "models:/planted/1", "--every", "7d", "--json")
    assert (made["name"], made["when"]) == ("reproduce-planted-1", "every 7d")
    assert made["name"] in [each["name"] for each in up.command("deploy", "--json")]
    for arguments, words in (
        (["models:/planted/1", "--every", "7d", "--remove"], "--every and --remove are given"),
        (["models:/planted/1", "seed=1", "--every", "7d"], "leave out overrides"),
        (["models:/planted/7", "--every", "7d"], "there is no models:/planted/7"),
        (["models:/planted/1", "--cron", "61 * * * *"], "isn't a cron expression"),
    ):
        wrong = up.call("reproduce", *arguments)
        assert (wrong.returncode, words in wrong.stderr) == (2, True), wrong.stderr
    removed = up.command("reproduce", "models:/planted/1", "--remove", "--json")
    assert removed == {"name": "reproduce-planted-1", "removed": True}
    assert made["name"] not in [each["name"] for each in up.command("deploy", "--json")]


@pytest.mark.slow
def test_votes_are_trained_on_by_schedule_where_there_are_new_ones(up: Any, tiny_llama: Path) -> None:
    for number in range(12):
        (prompt,) = arena.add_prompts(Settings(home=up.path), [f"What is {number} + {number}?"], "ada")
        match = arena.next_match(Settings(home=up.path), "ada", ["models:/m/1", "models:/m/2"], prompt)
        assert match is not None
        for side, model in arena.models_of(Settings(home=up.path), match.id).missing():
            arena.answer(Settings(home=up.path), match.id, side, arena.Answer(f"{model} says {2 * number}.", model))
        arena.vote(Settings(home=up.path), match.id, "a", "ada", 5.0)
    settings = [f"model.source={tiny_llama}", "register=null", "evaluate=null", "align.0.max_steps=2", "align.0.logging_every=1"]
    made = up.command("feedback", "run", "feedback", *settings, "--every", "15s", "--json")
    assert (made["name"], made["when"]) == ("feedback-feedback", "every 15s")
    assert completed(up, made["id"], 2) >= 2
    assert len(list(up.path.glob("runs/feedback-*/report.json"))) == 1, "the second time nobody had said anything new"
    assert up.command("deploy", "feedback-feedback", "--remove", "--json")["removed"]
