"""Routing and load against the router logits that transformers returns, and balance on loads that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.inspect.experts import _routing
from components.inspection import Prompt, inspect

PROMPT = Prompt((1, 17, 44, 250, 9, 44, 131, 300, 7, 12))
IDS = torch.tensor([PROMPT.ids])


@pytest.mark.parametrize(("name", "layers"), [("mixtral", [0, 1, 2]), ("qwen2_moe", [1]), ("qwen3_moe", [0, 1, 2])])
def test_routing_is_that_of_the_router_logits(built: Callable[[str], Any], tokenizer: Any, name: str, layers: list[int]) -> None:
    model = built(name)
    found = inspect("experts", {}, model, tokenizer, PROMPT)
    assert found.columns["layer"] == layers
    assert found.facts["dense_layers"] == sorted({0, 1, 2} - set(layers))
    assert found.facts["shared"] == (name == "qwen2_moe")
    logits = model(input_ids=IDS, output_router_logits=True).router_logits
    assert len(logits) == len(layers)
    for row, expected in zip(found.rows, logits, strict=True):
        top = expected.softmax(-1).topk(2)
        weights = top.values if name == "qwen2_moe" else top.values / top.values.sum(-1, keepdim=True)
        assert row["experts"] == top.indices.tolist()
        torch.testing.assert_close(torch.tensor(row["weights"]), weights, rtol=1e-5, atol=1e-5)
        load = torch.bincount(top.indices.flatten(), minlength=expected.shape[-1]) / 20
        torch.testing.assert_close(torch.tensor(row["load"]), load, rtol=1e-5, atol=1e-6)
        entropy = torch.distributions.Categorical(logits=expected).entropy().mean()
        assert row["router_entropy"] == pytest.approx(float(entropy), rel=1e-5)
    if name == "mixtral":  # transformers' own loss counts each of the k choices as a share of its own
        from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

        one = load_balancing_loss_func((logits[0],), 4, 2)
        assert found.columns["aux_loss"][0] == pytest.approx(float(one) / 2, rel=1e-5)


def test_routing_of_latent_attention_models(built: Callable[[str], Any], tokenizer: Any) -> None:
    """DeepSeek-V2 has no router outputs: the same from what its experts are given."""
    model = built("deepseek_v2")
    given: list[Any] = []
    hooks = [
        layer.mlp.experts.register_forward_pre_hook(lambda _, inputs: given.append(inputs)) for layer in model.model.layers[1:]
    ]
    model(input_ids=IDS)
    for hook in hooks:
        hook.remove()
    found = inspect("experts", {}, model, tokenizer, PROMPT)
    assert found.columns["layer"] == [1, 2]
    for row, (_, chosen, weights) in zip(found.rows, given, strict=True):
        for token in range(10):
            expected = sorted(zip(weights[token].tolist(), chosen[token].tolist(), strict=True), reverse=True)
            assert row["experts"][token] == [expert for _, expert in expected]
            assert row["weights"][token] == pytest.approx([weight for weight, _ in expected], rel=1e-5)
    assert max(max(w) for w in found.columns["weights"][0]) > 0.5  # scaled by 1.5, not normalised to one


def test_balance_of_known_loads() -> None:
    even = _routing(torch.zeros(8, 4), torch.full((8, 1), 0.25), torch.arange(8)[:, None] % 4, 1.0)
    assert even["load"] == [0.25] * 4
    assert even["load_entropy"] == pytest.approx(1)
    assert even["aux_loss"] == pytest.approx(1)
    assert (even["busiest"], even["unused"], even["dropped"]) == (1, 0, 0)
    logits = torch.tensor([[20.0, 0, 0, 0]]).repeat(8, 1)
    one = _routing(logits, torch.ones(8, 1), torch.zeros(8, 1, dtype=torch.long), 1.25)
    assert one["load_entropy"] == pytest.approx(0, abs=1e-6)
    assert one["aux_loss"] == pytest.approx(4)
    assert (one["busiest"], one["unused"]) == (4, 3)
    assert one["dropped"] == pytest.approx(5 / 8)  # room for ceil(1.25 · 8 / 4) = 3 of 8


def test_experts_stand_in_the_order_of_their_weights() -> None:
    found = _routing(torch.zeros(2, 4), torch.tensor([[0.2, 0.7], [0.6, 0.1]]), torch.tensor([[3, 1], [0, 2]]), 1.0)
    assert found["experts"] == [[1, 3], [0, 2]]
    assert found["weights"] == [[0.7, 0.2], [0.6, 0.1]]
