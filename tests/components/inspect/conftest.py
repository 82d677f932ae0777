"""Tiny random models of several architectures, and one prompt in their vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.inspection import Prompt

COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen3": {"head_dim": 16},
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 24, "decoder_sparse_step": 2},
    "qwen3_moe": EXPERTS | {"norm_topk_prob": True, "head_dim": 8},
    "deepseek_v2": {
        "num_key_value_heads": 4,
        "q_lora_rank": 12,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
        "n_routed_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "routed_scaling_factor": 1.5,
    },
    "qwen2_vl": {},
}
PROMPT = Prompt((1, 17, 44, 250, 9, 44, 131, 300, 7, 12), 7)


def build(name: str) -> Any:
    """A random model of an architecture, with norms that aren't all ones."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, Qwen2VLForConditionalGeneration

    torch.manual_seed(3)
    if name == "qwen2_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
        vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
        config = AutoConfig.for_model("qwen2_vl", text_config=COMMON | {"rope_parameters": rope}, vision_config=vision)
        model: Any = Qwen2VLForConditionalGeneration(config)
    else:
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **COMMON | ARCHITECTURES[name]))
    with torch.no_grad():
        for module, values in model.named_parameters():
            if "norm" in module:
                values.uniform_(0.5, 1.5)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def built() -> Callable[[str], Any]:
    """Models by architecture, each built once."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = build(name)
        return made[name]

    return get


@pytest.fixture(scope="session")
def tokenizer(tiny_llama: Path) -> Any:
    """The tiny Llama's: 320 tokens."""
    from components.models.load import load_tokenizer

    return load_tokenizer(tiny_llama)
