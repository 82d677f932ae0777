"""Packed rows, shared prefixes and slots give each architecture's own answers; where they wouldn't, the plain way does."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import transformers

from components.inference.engine import Engine, Sampling

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
    "Gemma2": SLIDING | {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Gemma3": SLIDING | {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Phi": {},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 160, "vocab_size": 120, "bos_token_id": 1, "eos_token_id": 2},
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 120, "max_position_embeddings": 160},
}
PLAIN = {"Mamba"}  # keeps a state instead of keys and values


def build(name: str, attention: str = "sdpa") -> Any:
    config_class = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")
    shape = {} if name in ("GPT2", "Mamba") else SHAPE
    torch.manual_seed(0)
    config = config_class(**(shape | ARCHITECTURES[name]))
    kwargs = {} if name == "Mamba" else {"attn_implementation": attention}
    model = transformers.AutoModelForCausalLM.from_config(config, **kwargs).eval()
    with torch.no_grad():  # far from zero, so that every token that is seen counts
        for key, weight in model.named_parameters():
            if "norm" not in key and weight.ndim > 1:
                weight.mul_(6)
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


CASES = [(name, "sdpa") for name in ARCHITECTURES] + [("Llama", "eager"), ("Gemma2", "eager")]


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_answers_are_the_models_own(name: str, attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.inference import prefixes

    model = build(name, attention)
    engine = Engine(model, Numbers())
    engine.end_ids = set()
    assert engine.decoder().forward.packs == (name not in PLAIN)
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


def greedily(model: Any, prompt: list[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    model.generation_config.eos_token_id = None
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    return list(out[0, len(prompt) :].tolist())


def test_a_model_that_answers_differently_in_rows_is_computed_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that looks at columns instead of positions, as some remote code does, gets no packed rows."""
    model = build("Llama")
    plain = model.forward

    def columns(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return plain(*args, **kwargs)

    monkeypatch.setattr(model, "forward", columns)
    engine = Engine(model, Numbers())
    assert not engine.decoder().forward.packs
    prompt = list(range(3, 30))
    (found,) = engine.generate([prompt], Sampling(max_new_tokens=5))
    monkeypatch.undo()
    assert found.ids == greedily(build("Llama"), prompt, 5)
