"""The search: what it measures is what comes of its choice, a restart ends where an uninterrupted search does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import front
from components.adapters.lora import Config as LoraConfig
from components.artifacts import DatasetRef, Inputs, LayerChoice, ModelRef, Sealed
from components.errors import InputError
from components.search import qr_adaptor
from components.search._propose import first, propose
from components.stage import Stage
from tests.conftest import empty_stage

SETTINGS: dict[str, Any] = {"rows": 8, "steps": 3, "genetic": 7, "bayesian": 3, "population": 4, "seeds": 2}
SETTINGS |= {"bits": (2, 4, 8), "ranks": (0, 2, 4), "lr": 1e-2, "batch_size": 8, "max_length": 160}
CONFIG = qr_adaptor.Config(**SETTINGS, adapter=LoraConfig(r=4, alpha=8))


@pytest.fixture(scope="module")
def inputs(tiny_llama: Path, tiny_data: DatasetRef) -> Inputs:
    return Inputs(tiny_data, {"model": ModelRef(tiny_llama, None, "base")})


@pytest.fixture(scope="module")
def searched(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stage = empty_stage(tmp_path_factory.mktemp("search") / "stage")
    qr_adaptor.run(CONFIG, inputs, stage)
    return stage


@pytest.mark.slow
def test_every_trial_is_kept_and_the_front_is_what_nothing_beats(searched: Stage) -> None:
    found = front.read(searched.out)
    trials = found["trials"]
    assert [trial["number"] for trial in trials] == list(range(10))
    assert [trial["step"] for trial in trials] == ["sensitivity"] * 4 + ["genetic"] * 3 + ["bayesian"] * 3
    for trial in trials:
        beaten = any(
            (o["loss"] <= trial["loss"] and o["bytes"] <= trial["bytes"])
            and (o["loss"], o["bytes"]) != (trial["loss"], trial["bytes"])
            for o in trials
        )
        assert trial["front"] is not beaten
    fitting = [t["loss"] for t in trials if t["bytes"] <= found["budget"] and any(t["ranks"])]
    assert found["chosen"]["loss"] == min(fitting)
    assert found["budget"] == found["reference"]["bytes"]
    assert [(s["layer"], s["bits"]) for s in found["sensitivity"]] == [(i, b) for i in (0, 1) for b in (2, 4, 8)]
    metrics = json.loads((searched.out / "metrics.json").read_bytes())
    assert metrics["difference"] == found["confirmed"]["difference"]
    assert metrics["difference"]["value"] == pytest.approx(
        found["confirmed"]["chosen"]["value"] - found["confirmed"]["reference"]["value"]
    )


@pytest.mark.slow
def test_a_restart_ends_where_an_uninterrupted_search_does(searched: Stage, inputs: Inputs, tmp_path: Path) -> None:
    lines = (searched.work / "trials.jsonl").read_text().splitlines(keepends=True)
    again = empty_stage(tmp_path / "again")
    (again.work / "trials.jsonl").write_text("".join(lines[:5]) + lines[5][:30])  # killed while it wrote
    qr_adaptor.run(CONFIG, inputs, again)
    assert (again.out / "front.json").read_bytes() == (searched.out / "front.json").read_bytes()
    assert (again.work / "trials.jsonl").read_text().splitlines(keepends=True)[:5] == lines[:5]


@pytest.mark.slow
def test_what_was_measured_before_is_not_measured_again(searched: Stage, inputs: Inputs, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (searched.work / "trials.jsonl").read_text().splitlines()]
    planted = next(i for i, line in enumerate(lines) if json.loads(line["key"])[0] == front.read(searched.out)["trials"][0]["bits"])
    lines[planted]["losses"] = [0.125] * 8
    again = empty_stage(tmp_path / "again")
    (again.work / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    qr_adaptor.run(CONFIG, inputs, again)
    assert 0.125 in {trial["loss"] for trial in front.read(again.out)["trials"]}


@pytest.mark.slow
def test_a_trial_is_what_the_stages_make_of_it(searched: Stage, inputs: Inputs, tmp_path: Path) -> None:
    """A configuration's bytes are those of the files, and its layers without a rank have no adapter."""
    from safetensors.torch import load_file

    from components.quantize import mixed
    from components.train import sft

    chosen = next(t for t in front.read(searched.out)["trials"] if 0 in t["ranks"] and any(t["ranks"]))
    assert inputs.data is not None
    choice = LayerChoice(tuple(chosen["bits"]), tuple(chosen["ranks"]), "d")
    quantized, trained = empty_stage(tmp_path / "mixed"), empty_stage(tmp_path / "sft")
    mixed.run(mixed.Config(), Inputs(inputs.data, inputs.models, choice=choice), quantized)
    base = ModelRef(quantized.out / "model", None, "")
    config = sft.Config(lr=1e-2, batch_size=8, max_steps=2, logging_every=1, max_length=160, adapter=CONFIG.adapter)
    sft.run(config, Inputs(inputs.data, {"model": base}, choice=choice), trained)
    weights, adapter = load_file(base.base / "model.safetensors"), load_file(trained.out / "adapter" / "adapter_model.safetensors")
    layers = sum(t.nbytes for name, t in weights.items() if ".layers." in name and "norm" not in name)
    assert layers + sum(t.nbytes for t in adapter.values()) == chosen["bytes"]
    ranks = {int(name.split(".layers.")[1].split(".")[0]): len(t) for name, t in adapter.items() if "lora_A" in name}
    assert ranks == {i: rank for i, rank in enumerate(chosen["ranks"]) if rank}


def test_sensitive_layers_begin_with_more() -> None:
    sensitivity = [{"layer": layer, "bits": b, "value": v} for layer, v in enumerate((0.1, 0.9, 0.4)) for b in (2, 4)]
    config = CONFIG.model_copy(update={"population": 9})
    found = first(config, sensitivity, rank=4)
    assert found[0] == ((4, 4, 4), (4, 4, 4))
    assert ((2, 8, 4), (0, 4, 2)) in found
    assert all(bits[1] >= bits[2] >= bits[0] for bits, _ in found)


def test_the_search_finds_what_is_best() -> None:
    """A planted problem: layer 1 alone needs bits, layer 0 alone needs rank; any other spending is waste."""

    def tried(bits: Any, ranks: Any) -> tuple[float, int]:
        return 2.0 - 0.1 * bits[1] - 0.1 * ranks[0], 10 * sum(bits) + 10 * sum(ranks)

    config = CONFIG.model_copy(update={"genetic": 24, "bayesian": 6, "population": 8})
    trials = propose(config, [((4, 4), (2, 2))], tried, seed=1)
    best = min(trials, key=lambda t: (t["loss"], t["bytes"]))
    assert (best["bits"], best["ranks"]) == ([2, 8], [4, 0])
    assert best["front"]
    assert propose(config, [((4, 4), (2, 2))], tried, seed=1) == trials


def test_settings_that_leave_nothing_to_search() -> None:
    for name, values in (("bits", (4,)), ("ranks", (8, 4))):
        with pytest.raises(ValueError, match=rf"{name}=.* leaves nothing to search"):
            qr_adaptor.Config(**SETTINGS | {name: values})


def test_too_few_rows(inputs: Inputs, new_stage: Callable[..., Stage]) -> None:
    with pytest.raises(InputError, match=r"the sft split has 40 rows, and a search holds twice search\.rows out"):
        qr_adaptor.run(CONFIG.model_copy(update={"rows": 20}), inputs, new_stage())


@pytest.mark.slow
def test_a_choice_is_read_from_the_sealed_output(searched: Stage) -> None:
    found = front.chosen(Sealed("search", "qr_adaptor", "k", searched.out, "digest"))
    chosen = front.read(searched.out)["chosen"]
    assert found == LayerChoice(tuple(chosen["bits"]), tuple(chosen["ranks"]), "digest")
