"""KV cache methods on tiny random models of several architectures, against direct implementations of their formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from components import methods
from components.errors import InputError
from components.inference.kv._layer import Layer, kept_count
from components.inference.kv_cache import KVCache, generate
from components.inference.sampling import Sampling

COMMON: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,  # answers that vary
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v2": {
        "kv_lora_rank": 16,
        "q_lora_rank": None,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
}
METHODS = methods.names("kv")
NEED_QUERIES = ("expected_attention", "merging", "cam")
WITH_QUERIES = [name for name in ARCHITECTURES if name != "deepseek_v2"]
_made: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def model(name: str) -> Any:
    if name not in _made:
        torch.manual_seed(0)
        config = AutoConfig.for_model(name, **COMMON | ARCHITECTURES[name])
        _made[name] = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():  # else q_norm's ones and zero biases couldn't be told from none
            for key, weight in _made[name].named_parameters():
                if key.endswith(("norm.weight", "bias")):
                    weight.add_(torch.randn_like(weight) * 0.3)
    return _made[name]


def prompt(length: int, rows: int = 1) -> torch.Tensor:
    return torch.randint(0, 96, (rows, length), generator=torch.Generator().manual_seed(length))


def config(method: str, ratio: float, **more: Any) -> Any:
    return methods.load("kv", method).Config(ratio=ratio, **more)


def layers(name: str, ids: torch.Tensor) -> list[Layer]:
    """What the methods are shown after a prompt."""
    seen: list[Layer] = []
    cache = KVCache(model(name), config("full", 0))
    full = cache.method.compress

    class Spy:
        @staticmethod
        def compress(settings: Any, layer: Layer) -> Any:
            seen.append(layer)
            return full(settings, layer)

    cache.method = Spy
    cache.forward(ids)
    return seen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ratio_0_gives_the_tokens_of_generate(name: str, method: str) -> None:
    ids = prompt(40)
    expected = model(name).generate(ids, max_new_tokens=40, do_sample=False, eos_token_id=-1, pad_token_id=0)[0, 40:]
    answer = generate(model(name), ids[0].tolist(), config(method, 0), Sampling(max_new_tokens=40))
    assert answer.ids == expected.tolist()
    assert len(set(answer.ids)) > 5
    assert answer.usage.nbytes == answer.usage.full_nbytes
    assert answer.usage.length == 79


@pytest.mark.parametrize("method", [m for m in METHODS if m != "quantized" and m != "full"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("name", WITH_QUERIES)
def test_ratio_is_the_share_that_goes(name: str, method: str, ratio: float) -> None:
    cache = KVCache(model(name), config(method, ratio))
    cache.forward(prompt(50, 3))
    assert {tuple(places.shape) for places in cache.positions.values()} == {(3, 2, kept_count(50, ratio))}
    assert cache.usage.nbytes * 50 == cache.usage.full_nbytes * kept_count(50, ratio)
    for _ in range(20):
        cache.forward(prompt(1, 3))
    kept = kept_count(70, ratio) if hasattr(cache.method, "step") else kept_count(50, ratio) + 20
    for layer, places in cache.positions.items():
        assert cache.cache.layers[layer].keys.shape[2] == places.shape[2] == kept
        assert (places[..., -1] == 69).all()
        assert (places.diff(dim=-1) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_a_batch_are_as_alone(method: str) -> None:
    ids, settings = prompt(50, 3), config(method, 0.0 if method == "full" else 0.5)
    together = KVCache(model("qwen3"), settings)
    logits = [together.forward(ids), *(together.forward(ids[:, i : i + 1]) for i in range(40))]
    for row in range(3):
        alone = KVCache(model("qwen3"), settings)
        lone = [alone.forward(ids[row : row + 1]), *(alone.forward(ids[row : row + 1, i : i + 1]) for i in range(40))]
        # Sums in another order may round a code to its neighbour.
        close = 0.05 if method == "quantized" else 1e-4
        assert torch.allclose(torch.stack(logits)[:, row], torch.stack(lone)[:, 0], atol=close)


def test_kept_keys_are_seen_as_by_a_mask_over_the_full_cache() -> None:
    """A head's own positions, and true position ids: the same logits as with everything else masked out."""
    name, ids = "llama", prompt(30)
    cache = KVCache(model(name), config("window", 0.5, sinks=3))
    cache.forward(ids)
    kept = cache.positions[0][0, 0].tolist()
    assert kept == [0, 1, 2, *range(18, 30)]
    mask = torch.zeros(1, 31)
    mask[0, [*kept, 30]] = 1
    full = KVCache(model(name), config("full", 0))
    full.forward(ids)
    expected = model(name)(prompt(1), attention_mask=mask, position_ids=torch.tensor([[30]]), past_key_values=full.cache).logits[
        :, -1
    ]
    frozen = cache._pass  # no eviction at this step
    cache.method = methods.load("kv", "full")
    assert torch.allclose(frozen(prompt(1)), expected, atol=1e-5)


def test_layers_may_keep_different_numbers() -> None:
    """Eager and SDPA attention agree where each layer holds another length, and tokens still see all of it."""

    class Uneven:
        @staticmethod
        def compress(settings: Any, layer: Layer) -> Any:
            return methods.load("kv", "window").compress(config("window", 0.25 if layer.index else 0.75), layer)

    logits = []
    for implementation in ("eager", "sdpa"):
        model("llama").set_attn_implementation(implementation)
        cache = KVCache(model("llama"), config("full", 0))
        cache.method = Uneven
        cache.forward(prompt(40))
        assert [cache.positions[i].shape[2] for i in (0, 1)] == [10, 30]
        logits.append([cache.forward(prompt(1)) for _ in range(3)][-1])
    assert torch.allclose(*logits, atol=1e-5)


@pytest.mark.parametrize("name", WITH_QUERIES)
def test_expected_attention_is_its_formula(name: str) -> None:
    """Against loops over heads and positions, with the model's own rotation of every future position."""
    ids, sinks, future, width = prompt(40), 4, 16, 8
    method = methods.load("kv", "expected_attention")
    for layer in layers(name, ids):
        attention = layer.attention
        heads = attention.q_proj(layer.hidden).view(1, 40, 4, width)
        heads = attention.q_norm(heads) if name == "qwen3" else heads
        rotate = __import__(type(attention).__module__, fromlist=["apply_rotary_pos_emb"]).apply_rotary_pos_emb
        cos, sin = layer.rotary(layer.hidden, torch.arange(40, 40 + future).unsqueeze(0))
        basis = torch.eye(width).view(1, width, 1, width).expand(-1, -1, future, -1)
        matrix = rotate(basis, basis, cos, sin)[0][0].mean(1).T  # column i: where basis vector i goes on average
        expected = torch.zeros(2, 40 - sinks)
        for head in range(4):
            states = heads[0, sinks:, head]
            mean, covariance = matrix @ states.mean(0), matrix @ states.T.cov(correction=0) @ matrix.T
            keys = layer.keys[0, head // 2, sinks:]
            logits = torch.stack([k @ mean / math.sqrt(width) + k @ covariance @ k / (2 * width) for k in keys])
            expected[head // 2] += logits.softmax(0) / 2 * layer.values[0, head // 2, sinks:].norm(dim=-1)
        scores = method.scores(config("expected_attention", 0.5, future=future), layer)[0]
        assert scores[:, :sinks].isinf().all()
        assert torch.allclose(scores[:, sinks:], expected, rtol=1e-4, atol=1e-7)
        kept = method.compress(config("expected_attention", 0.5, future=future), layer)
        best = (expected.topk(20 - sinks).indices + sinks).sort(-1).values
        assert torch.equal(kept.positions[0], torch.cat([torch.arange(sinks).expand(2, -1), best], -1))
        assert torch.equal(kept.keys[0, 1], layer.keys[0, 1, kept.positions[0, 1]])


def test_merging_folds_every_evicted_value_into_the_most_similar_key() -> None:
    layer = layers("llama", prompt(30))[1]
    evicting = methods.load("kv", "expected_attention").compress(config("expected_attention", 0.5), layer)
    merged = methods.load("kv", "merging").compress(config("merging", 0.5), layer)
    assert torch.equal(merged.positions, evicting.positions)
    assert torch.equal(merged.keys, evicting.keys)
    for head in range(2):
        kept = evicting.positions[0, head].tolist()
        total, weights = evicting.values[0, head].clone(), torch.ones(len(kept))
        for place in set(range(30)) - set(kept):
            likeness = torch.cosine_similarity(layer.keys[0, head, place], evicting.keys[0, head], dim=-1)
            target = int(likeness.argmax())
            lost = layer.values[0, head, place]
            share = lost.norm() / (lost.norm() + evicting.values[0, head, target].norm())
            weight = likeness[target].clamp(min=0) * share
            total[target] += weight * lost
            weights[target] += weight
        assert torch.allclose(merged.values[0, head], total / weights.unsqueeze(-1), atol=1e-4)
    assert not torch.allclose(merged.values, evicting.values)
    strict = methods.load("kv", "merging").compress(config("merging", 0.5, similarity=1.0), layer)
    assert torch.equal(strict.values, evicting.values)


def test_cam_gives_the_share_of_what_leaves_to_those_behind_it() -> None:
    """Over many seeds each position behind gets value/merge as often as the attention says."""
    method = methods.load("kv", "cam")
    layer = layers("qwen2", prompt(30))[0]
    settings = [config("cam", 0.05, sinks=2, merge=6, seed=seed) for seed in range(200)]
    kept = [method.step(each, layer) for each in settings]
    assert kept[0].positions[0, 0].tolist() == [0, 1, *range(4, 30)]
    gains = torch.stack([method._merged(each, layer, 2) - layer.values for each in settings])[:, 0]
    mass = method.attention(layer)[0]
    assert torch.allclose(mass.sum(-1), torch.ones(2))
    for head in range(2):
        share = layer.values[0, head, 2] / 6
        chance = min(1.0, float(mass[head, 2] / mass[head, 3:9].mean()))
        given = [bool(g[head, 3].any()) for g in gains]
        assert abs(sum(given) / 200 - chance) < 0.12
        for gain in gains[[i for i, g in enumerate(given) if g]][:3, head]:
            assert torch.allclose(gain[3:9], share.expand(6, -1), atol=1e-6)
            assert not gain[[*range(3), *range(9, 30)]].any()


def test_cam_attention_is_the_models_own() -> None:
    model("qwen3").set_attn_implementation("eager")
    ids = prompt(30)
    theirs = model("qwen3")(ids, output_attentions=True).attentions
    for layer, weights in zip(layers("qwen3", ids), theirs, strict=True):
        own = weights[0, :, -1].view(2, 2, -1).mean(1)
        assert torch.allclose(methods.load("kv", "cam").attention(layer)[0], own, atol=1e-5)


@pytest.mark.parametrize("method", NEED_QUERIES)
def test_latent_attention_is_refused_where_queries_are_needed(method: str) -> None:
    with pytest.raises(InputError, match=r"DeepseekV2Attention has no separate queries before RoPE.*use full, quantized or window"):
        KVCache(model("deepseek_v2"), config(method, 0.5)).forward(prompt(30))


def test_latent_attention_goes_through_a_window() -> None:
    answer = generate(model("deepseek_v2"), prompt(30)[0].tolist(), config("window", 0.5), Sampling(max_new_tokens=10))
    assert answer.usage.cached == kept_count(39, 0.5)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "full"])
@pytest.mark.parametrize("length", [1, 2, 4, 5])
def test_prompts_shorter_than_sinks_and_windows(method: str, length: int) -> None:
    answer = generate(model("llama"), prompt(length)[0].tolist(), config(method, 0.5), Sampling(max_new_tokens=6))
    assert len(answer.ids) == 6


def test_wrong_input_is_one_sentence() -> None:
    with pytest.raises(InputError, match="prompt is empty"):
        generate(model("llama"), [], config("full", 0), Sampling())
    for ratio in (-0.1, 1.0):
        with pytest.raises(ValueError, match="ratio"):
            config("window", ratio)
    sliding = AutoModelForCausalLM.from_config(AutoConfig.for_model("mistral", **COMMON, sliding_window=8))
    with pytest.raises(InputError, match="layers with a sliding window"):
        KVCache(sliding, config("window", 0.5))


def test_draws_are_those_of_the_engine_for_a_first_prompt() -> None:
    sampling = Sampling(max_new_tokens=20, temperature=1.0, top_p=0.9, seed=3)
    answers = [generate(model("llama"), prompt(20)[0].tolist(), config(m, 0), sampling).ids for m in ("full", "window")]
    assert answers[0] == answers[1]
    other = generate(model("llama"), prompt(20)[0].tolist(), config("full", 0), Sampling(max_new_tokens=20, temperature=1, seed=4))
    assert other.ids != answers[0]
