"""Packed rows, shared prefixes and slots give each architecture's own answers; where they wouldn't, the plain way does."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from components.inference.engine import Engine, Sampling
from components.inference.fused import Fused
from components.inference.weights import supports

SHAPE = {
    "vocab_size": 120, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 160, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
SLIDING = {"sliding_window": 8}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Mixtral": {"num_local_experts": 4},
    "Mistral": SLIDING,
    "WideMistral": {"sliding_window": None, "head_dim": 16},
    "Gemma2": SLIDING | {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Gemma3": SLIDING | {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Phi": {},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 160, "vocab_size": 120, "bos_token_id": 1, "eos_token_id": 2},
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 120, "max_position_embeddings": 160},
}
PLAIN = {"Mamba"}  # keeps a state instead of keys and values
FUSED = {"Llama", "Qwen2", "Qwen3", "WideMistral"}


def build(name: str, attention: str = "sdpa") -> Any:
    config_class = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name.removeprefix('Wide')}Config")
    shape = {} if name in ("GPT2", "Mamba") else SHAPE
    torch.manual_seed(0)
    config = config_class(**(shape | ARCHITECTURES[name]))
    kwargs = {} if name == "Mamba" else {"attn_implementation": attention}
    model = transformers.AutoModelForCausalLM.from_config(config, **kwargs).eval()
    with torch.no_grad():  # far from zero, so that every token that is seen counts
        for key, weight in model.named_parameters():
            if "norm" not in key and weight.ndim > 1:
                weight.mul_(6)
            elif name in FUSED:  # norms and biases that do something
                weight.add_(torch.randn_like(weight) * 0.3)
    return model


class Numbers:
    """A tokenizer whose texts are numbers."""

    pad_token_id, eos_token_id = 0, 2

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return " ".join(map(str, ids))


def branching(seed: int) -> list[tuple[list[int], list[int]]]:
    """Pairs as of few-shot multiple choice: one header, stems behind it, several continuations each; and two strangers."""
    draw = random.Random(seed)
    some = lambda least, most: [draw.randrange(3, 120) for _ in range(draw.randint(least, most))]  # noqa: E731
    header = some(30, 30)
    pairs = []
    for _ in range(5):
        stem = [*header, *some(4, 30)]
        pairs += [(stem, some(1, 6)) for _ in range(4)]
    return [*pairs, (some(1, 1), some(3, 3)), (some(50, 50), some(1, 1)), pairs[0]]


CASES = [(name, "sdpa", False) for name in ARCHITECTURES] + [("Llama", "eager", False), ("Gemma2", "eager", False)]


@pytest.mark.parametrize(("name", "attention", "fuse"), CASES + [(name, "sdpa", True) for name in ARCHITECTURES])
def test_answers_are_the_models_own(name: str, attention: str, fuse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if fuse and name not in FUSED:
        assert not supports(build(name, attention))
        return
    model = build(name, attention)
    engine = Engine(model, Numbers(), fuse=fuse)
    engine.end_ids = set()
    forward = engine.decoder().forward
    assert (forward.packs, forward.fused is not None) == (name not in PLAIN, fuse)
    compare(engine, model, monkeypatch)


def compare(engine: Engine, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores and greedy answers of the engine against those of the model on each sequence alone."""
    from components.inference import prefixes

    pairs = branching(1)
    for row_tokens in (prefixes.ROW_TOKENS, 90):  # all in few rows; a header of its own with rows behind it
        monkeypatch.setattr(prefixes, "ROW_TOKENS", row_tokens)
        for (context, rest), (value, greedy) in zip(pairs, engine.loglikelihood(pairs), strict=True):
            with torch.inference_mode():
                logits = model(torch.tensor([[*context, *rest]]), use_cache=False).logits[0, len(context) - 1 : -1].float()
            expected = logits.log_softmax(-1)[range(len(rest)), rest].sum().item()
            assert value == pytest.approx(expected, abs=1e-3, rel=1e-5)
            assert greedy == (logits.argmax(-1).tolist() == rest)
    prompts = [context for context, _ in pairs[::3]]
    found = engine.generate(prompts, Sampling(max_new_tokens=14), batch_tokens=500)  # not all fit at once
    for prompt, completion in zip(prompts, found, strict=True):
        assert completion.ids == greedily(model, prompt, 14)


FAULTS = {
    "turned the other way": ("Llama", "rotation"),
    "without biases": ("Qwen2", "bias"),
    "without the norms' weights": ("Mistral without a window", "norm"),
    "without the norms of queries and keys": ("Qwen3", "norms"),
}


def spoil(fault: str, forward: Fused) -> None:
    """Plants a fault into the copied weights."""
    if fault == "rotation":
        forward.rotation(torch.tensor([255]))
        forward._rotations = forward._rotations.conj()
    elif fault == "bias":
        forward.layers = [replace(layer, qkv=(layer.qkv[0], None)) for layer in forward.layers]
    elif fault == "norms":
        forward.layers = [replace(layer, norms=None) for layer in forward.layers]
    else:
        forward.head = (forward.model.lm_head.weight.detach(), None)


@pytest.mark.parametrize("what", FAULTS)
def test_a_faulty_forward_pass_is_not_trusted(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logits are compared with the model's own first; then the model's modules answer, and rightly."""
    name, fault = FAULTS[what]
    model = build("WideMistral" if name.startswith("Mistral") else name)
    engine = Engine(model, Numbers())
    engine.end_ids = set()
    forward = engine.decoder().forward
    assert forward.fused is not None
    spoil(fault, forward.fused)
    assert forward.packs
    assert forward.fused is None
    compare(engine, model, monkeypatch)


def test_weights_that_change_are_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("Llama")
    engine = Engine(model, Numbers())
    engine.end_ids = set()
    before = engine.loglikelihood([([5, 6, 7], [8])])
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(-1)
    assert engine.loglikelihood([([5, 6, 7], [8])]) != before
    assert engine.decoder().forward.fused is not None
    compare(engine, model, monkeypatch)


def test_only_plain_modules_of_one_type_are_copied() -> None:
    model = build("Llama")
    assert supports(model)
    hook = model.model.layers[0].register_forward_hook(lambda *_: None)
    assert not supports(model)
    hook.remove()
    model.model.layers[1].mlp.up_proj = torch.nn.Sequential(model.model.layers[1].mlp.up_proj)
    assert not supports(model)


def test_sixteen_bits_are_computed_as_in_the_model() -> None:
    model = build("Qwen3").to(torch.bfloat16)
    engine = Engine(model, Numbers())
    pairs = branching(2)
    assert engine.decoder().forward.packs
    assert engine.decoder().forward.fused is not None
    plain = Engine(model, Numbers(), fuse=False).loglikelihood(pairs)
    for (_, rest), (value, _), (expected, _) in zip(pairs, engine.loglikelihood(pairs), plain, strict=True):
        assert value == pytest.approx(expected, abs=0.3 * len(rest))


def greedily(model: Any, prompt: list[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    model.generation_config.eos_token_id = None
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    return list(out[0, len(prompt) :].tolist())


def test_a_model_that_answers_differently_in_rows_is_computed_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that looks at columns instead of positions, as some remote code does, gets no packed rows."""
    model = build("Llama")
    plain = model.forward  # an instance's own forward: nothing that could be copied

    def columns(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return plain(*args, **kwargs)

    monkeypatch.setattr(model, "forward", columns)
    engine = Engine(model, Numbers())
    assert not engine.decoder().forward.packs
    prompt = list(range(3, 30))
    (found,) = engine.generate([prompt], Sampling(max_new_tokens=5))
    monkeypatch.undo()
    assert found.ids == greedily(build("Llama"), prompt, 5)
