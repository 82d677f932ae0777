"""The parity chain's last link on servers that serve the weights, and on one that serves others."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from components.artifacts import DatasetRef, Inputs, ModelRef
from components.inference.server import verify as link
from components.inference.server.verify import verify
from components.stage import Stage
from tests.components.inference.server.conftest import Served


@pytest.fixture(scope="module")
def rounded(tiny_llama: Path, tiny_data: DatasetRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama with 8-bit weights and activations."""
    from components.export import w8a8
    from tests.conftest import empty_stage

    stage: Stage = empty_stage(tmp_path_factory.mktemp("w8a8") / "stage")
    w8a8.run(w8a8.Config(samples=8, max_length=64), Inputs(tiny_data, {"model": ModelRef(tiny_llama, None, "")}), stage)
    return stage.out / "model"


@pytest.fixture(scope="module")
def other(rounded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one layer's scales a fifth larger."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("other") / "model"
    shutil.copytree(rounded, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("layers.1.mlp.down_proj.weight_scale"))
    weights[name] = weights[name] * 1.2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_served_weights_are_the_weights(served: Served, tiny_llama: Path) -> None:
    found = verify(f"{served.url}/v1", "tiny", ModelRef(tiny_llama, None, ""))
    assert (found["ok"], found["identical_tokens"], found["same_prompts"], found["rounds_activations"]) == (True, True, True, False)
    assert found["max_logprob_difference"] < 1e-4 < found["tolerance"] == link.TOLERANCE


@pytest.mark.slow
def test_rounded_activations_are_held_to_what_transformers_differs_by(
    serve: Callable[..., Served], rounded: Path, other: Path
) -> None:
    server = serve(f"rounded={rounded}", f"other={other}").wait()
    found = verify(f"{server.url}/v1", "rounded", ModelRef(rounded, None, ""))
    assert (found["ok"], found["same_prompts"], found["rounds_activations"]) == (True, True, True), found
    assert found["tolerance"] < 0.1
    wrong = verify(f"{server.url}/v1", "other", ModelRef(rounded, None, ""))
    assert not wrong["ok"], wrong


def test_values_that_are_missing_are_no_agreement() -> None:
    assert link._largest([], [-1.0]) == math.inf
    assert link._largest([-1.0], [-1.5]) == 0.5
