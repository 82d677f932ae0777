"""Models that round their activations: computed in packed rows where each token's are rounded by themselves."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from components.inference import forward as forwards
from components.inference.engine import Engine, Sampling
from components.models.precision import activations_left, rounds_activations
from tests.components.inference.test_architectures import Numbers, build, greedily


def rounding(strategy: str) -> Any:
    """A small Llama whose linear layers round what goes into them to 8 bits."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, apply_quantization_config

    model = build("Llama")
    arguments = QuantizationArgs(num_bits=8, strategy=strategy, dynamic=True)
    scheme = QuantizationScheme(targets=["Linear"], input_activations=arguments)
    apply_quantization_config(model, QuantizationConfig(config_groups={"all": scheme}, ignore=["lm_head"]))
    return model


def unsteady(model: Any) -> Any:
    """The same on a processor that sums a little differently each time."""
    plain, draw = model.model.embed_tokens.forward, torch.Generator().manual_seed(0)

    def embed(ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = plain(ids)
        return found + 1e-5 * torch.randn(found.shape, generator=draw)

    model.model.embed_tokens.forward = embed
    return model


def test_a_rounding_error_does_not_make_a_model_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Engine(unsteady(rounding("token")), Numbers()).decoder().forward
    assert forward.packs
    monkeypatch.setattr(forwards, "activations_left", nullcontext)
    assert forward._difference() > 1e-3  # which would not be told from a wrong way


def test_a_faulty_way_is_not_trusted_either(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rounding("token")
    plain = model.forward
    monkeypatch.setattr(model, "forward", lambda *args, position_ids=None, **kwargs: plain(*args, **kwargs))
    assert not Engine(model, Numbers()).decoder().forward.packs


def test_what_neighbours_round_together_is_computed_alone() -> None:
    model = rounding("tensor")
    engine = Engine(model, Numbers())
    engine.end_ids = set()
    assert not engine.decoder().forward.packs
    prompt = list(range(3, 30))
    (found,) = engine.generate([prompt], Sampling(max_new_tokens=1))
    assert found.ids == greedily(model, prompt, 1)


def test_activations_are_rounded_again_afterwards() -> None:
    model = rounding("token")
    ids = torch.tensor([list(range(3, 30))])
    with torch.inference_mode():
        before = model(ids).logits
        with activations_left(model):
            assert (model(ids).logits - before).abs().max() > 1e-3
        assert torch.equal(model(ids).logits, before)
    assert rounds_activations(model)
    assert not rounds_activations(build("Llama"))
