"""bitsandbytes repacks 4-bit weights in place on CPUs with AVX512-BF16, after which gradients are wrong without an error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear4bit

from components.adapters.lora import Config as LoraConfig
from components.artifacts import ModelRef
from components.inference.dequantize import dequantize
from components.models import load
from components.stage import Stage
from components.train.sft import Config as SftConfig
from components.training import policy

IDS = torch.arange(3, 63).reshape(2, 30)

Policies = tuple[Any, Any]


@pytest.fixture
def policies(tiny_nf4: ModelRef, tiny_sft: ModelRef, new_stage: Callable[..., Stage], request: pytest.FixtureRequest) -> Policies:
    """A 4-bit model as a stage trains it, and its twin with dequantized weights: with a new adapter, or the one of SFT."""
    new = request.param == "new adapter"
    config = SftConfig(adapter=LoraConfig(r=4) if new else None)
    torch.manual_seed(0)
    model, twin = (policy.load_policy(config, tiny_nf4 if new else tiny_sft, new_stage())[0] for _ in range(2))
    if new:
        for weight in trained(model):  # LoRA's B begins at 0, where A has no gradient
            torch.nn.init.normal_(weight, std=0.05)
        twin.load_state_dict({n: w for n, w in model.named_parameters() if w.requires_grad}, strict=False)
    assert dequantize(twin) == 14
    return model, twin


every_adapter = pytest.mark.parametrize("policies", ["new adapter", "adapter of SFT"], indirect=True)


def trained(model: Any) -> list[Any]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def gradient(model: Any) -> torch.Tensor:
    model.train()
    model.zero_grad()
    model(input_ids=IDS, labels=IDS).loss.backward()
    return torch.cat([weight.grad.flatten() for weight in trained(model)])


def agreement(policies: Policies) -> float:
    """Cosine of the gradients of both models."""
    return float(torch.cosine_similarity(*(gradient(model) for model in policies), dim=0))


def answer(model: Any) -> None:
    """What evaluation and GRPO's rollouts do."""
    model.eval()
    with torch.no_grad():
        model.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=4, pad_token_id=0)


def repacked(model: Any) -> int:
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    return sum(getattr(layer.weight.quant_state, "packing_format_for_cpu", False) for layer in layers)


@every_adapter
def test_gradients_are_those_of_the_dequantized_model_before_and_after_a_generation(policies: Policies) -> None:
    assert agreement(policies) > 0.9999
    for _ in range(2):
        answer(policies[0])
        assert agreement(policies) > 0.9999
    assert repacked(policies[0]) == 0


@pytest.fixture
def unprotected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the protection away."""
    for module in (load, policy):
        monkeypatch.setattr(module, "keep_weight_layout", lambda model: 0)


@pytest.mark.skipif(not has_avx512bf16(), reason="this CPU has no AVX512-BF16, so bitsandbytes keeps the layout anyway")
@pytest.mark.usefixtures("unprotected")
@every_adapter
def test_without_the_protection_they_go_wrong(policies: Policies) -> None:
    """If this fails, bitsandbytes has mended it: take ``keep_weight_layout`` out."""
    assert agreement(policies) > 0.9999
    answer(policies[0])
    assert repacked(policies[0]) == 14
    assert agreement(policies) < 0.98


@pytest.fixture
def any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes bitsandbytes repack on every CPU, as it does on one with AVX512-BF16."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)


@pytest.mark.usefixtures("any_cpu")
@every_adapter
def test_the_protection_holds_on_every_cpu(policies: Policies) -> None:
    answer(policies[0])
    assert repacked(policies[0]) == 0


@pytest.mark.usefixtures("any_cpu", "unprotected")
@pytest.mark.parametrize("policies", ["new adapter"], indirect=True)
def test_which_it_would_not_without_it(policies: Policies) -> None:
    with contextlib.suppress(Exception):  # the kernels for the other layout may be missing
        answer(policies[0])
    assert repacked(policies[0]) > 0
